{{/* What to do next; the charts add their own. */}}

{{- define "common.notes" -}}
{{- $values := .Values.common -}}
{{- $name := include "common.fullname" . -}}
{{- $in := printf "-n %s" .Release.Namespace -}}
{{- $secret := include "common.storesSecret" . -}}
{{- if not (lookup "v1" "Secret" .Release.Namespace $secret) }}
The secret {{ $secret }} with {{ (include "app" . | fromYaml).secrets | join ", " }} is not there, and no pod starts without it:

  NAMESPACE={{ .Release.Namespace }} k8s/make-secrets.sh
{{ end }}
Wait for the replicas, which wait for their schema:

  kubectl {{ $in }} rollout status deployment/{{ $name }} --timeout=120s
{{- if $values.migrations.enabled }}
  kubectl {{ $in }} logs -l app.kubernetes.io/instance={{ .Release.Name }},app.kubernetes.io/component=migrate
{{- end }}
{{ if and (eq $values.service.type "NodePort") $values.service.nodePort }}
Reach them, where kind-config.yaml maps the port:

  export API=http://127.0.0.1:{{ $values.service.nodePort }}
{{ else }}
Reach one of them:

  kubectl {{ $in }} port-forward svc/{{ $name }} {{ $values.service.port }}:api &
  export API=http://127.0.0.1:{{ $values.service.port }}
{{ end }}
{{- end }}
