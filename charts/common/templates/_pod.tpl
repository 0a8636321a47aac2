{{/* Parts of pods: who they run as, where, and with what settings. */}}

{{/* Restricted Pod Security, for the pod. */}}
{{- define "common.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.common.securityContext.runAsUser }}
runAsGroup: {{ .Values.common.securityContext.runAsUser }}
fsGroup: {{ .Values.common.securityContext.runAsUser }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Restricted Pod Security, for a container. */}}
{{- define "common.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: {{ .Values.common.securityContext.readOnlyRootFilesystem }}
capabilities: {drop: [ALL]}
{{- end }}

{{/* Where pods may run. */}}
{{- define "common.scheduling" -}}
{{- $values := .Values.common -}}
tolerations:
  {{- range list "not-ready" "unreachable" }}
  - key: node.kubernetes.io/{{ . }}
    operator: Exists
    effect: NoExecute
    tolerationSeconds: {{ $values.deadNodeSeconds }}
  {{- end }}
  {{- with $values.tolerations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* The settings that come from the secret of the stores: dict "root" . "names" (list "DATABASE_URL") */}}
{{- define "common.secretEnv" -}}
{{- range $index, $name := .names }}
{{- if $index }}{{ "\n" }}{{ end -}}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ include "common.storesSecret" $.root }}
      key: {{ default $name (get $.root.Values.common.stores.keys $name) }}
{{- end }}
{{- end }}

{{/* The settings that are no secret, as a ConfigMap's data. */}}
{{- define "common.config" -}}
{{- $values := .Values.common -}}
LISTEN: 0.0.0.0:8080
ADMIN_LISTEN: 0.0.0.0:9080
DRAIN: {{ $values.server.drainSeconds }}s
GRACE: {{ $values.server.graceSeconds }}s
REQUEST_TIMEOUT: {{ $values.server.requestTimeout }}
BODY_LIMIT: {{ $values.server.bodyLimit | quote }}
DATABASE_POOL: {{ $values.database.pool | quote }}
DATABASE_WAIT: {{ $values.database.wait }}
{{- with $values.database.statementTimeout }}
DATABASE_STATEMENT_TIMEOUT: {{ . }}
{{- end }}
LOG_FORMAT: {{ $values.log.format }}
RUST_LOG: {{ $values.log.filter | quote }}
{{- range $name, $value := (include "app" . | fromYaml).env }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end }}
