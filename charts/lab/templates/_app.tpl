{{/* What is particular to the lab; charts/common/templates/_names.tpl says what each line means. */}}
{{- define "app" -}}
binary: lab
secrets: [DATABASE_URL, CACHE_REDIS_URL, LOCK_REDIS_URL]
stores: [postgres, redis-cache, redis-lock]
rules:
  # Where the replicas are, and which process each is.
  - apiGroups: [discovery.k8s.io]
    resources: [endpointslices]
    verbs: [get, list, watch]
  - apiGroups: [""]
    resources: [pods, services]
    verbs: [get, list, watch]
  - apiGroups: [apps]
    resources: [deployments, statefulsets, replicasets]
    verbs: [get, list, watch]
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    verbs: [get, list]
  {{- if .Values.faults.enabled }}
  # pod-kill, store-restart
  - apiGroups: [""]
    resources: [pods]
    verbs: [delete]
  # pause: a signal to a container's process
  - apiGroups: [""]
    resources: [pods/exec, pods/ephemeralcontainers]
    verbs: [create, patch]
  # scale, rollout
  - apiGroups: [apps]
    resources: [deployments/scale, statefulsets/scale]
    verbs: [get, patch, update]
  - apiGroups: [apps]
    resources: [deployments, statefulsets]
    verbs: [patch]
  # node-drain, as far as it concerns this namespace
  - apiGroups: [""]
    resources: [pods/eviction]
    verbs: [create]
  {{- end }}
{{- end }}

{{/* The container of a Job: dict "root" . "args" (list "blog" "seed") "resources" (dict) */}}
{{- define "lab.container" -}}
- name: lab
  image: {{ include "common.image" .root }}
  imagePullPolicy: {{ .root.Values.common.image.pullPolicy }}
  command: {{ .root.Values.common.command | default (list "/usr/local/bin/lab") | toJson }}
  args: {{ toJson .args }}
  workingDir: /results
  env:
    - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: PROMETHEUS_URL, value: "http://prometheus:9090"}
    - {name: LAB_DATA, value: /results}
    - {name: RUST_LOG, value: {{ .root.Values.common.log.filter | quote }}}
    {{- include "common.secretEnv" (dict "root" .root "names" (include "app" .root | fromYaml).secrets) | nindent 4 }}
    {{- with .root.Values.common.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .root.Values.common.extraEnvFrom }}
  envFrom: {{- toYaml . | nindent 4 }}
  {{- end }}
  resources: {{- toYaml .resources | nindent 4 }}
  securityContext: {{- include "common.containerSecurity" .root | nindent 4 }}
  volumeMounts:
    - {name: results, mountPath: /results}
    - {name: tmp, mountPath: /tmp}
    {{- with .root.Values.common.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* The pod around it: dict "root" . "component" "seed" "token" false "args" … "resources" … */}}
{{- define "lab.pod" -}}
metadata:
  labels: {{- include "common.podLabels" (dict "root" .root "component" .component "stores" (include "app" .root | fromYaml).stores) | nindent 4 }}
  {{- with .root.Values.common.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  restartPolicy: {{ ternary "OnFailure" "Never" (eq .component "seed") }}
  serviceAccountName: {{ include "common.serviceAccountName" .root }}
  automountServiceAccountToken: {{ .token }}
  enableServiceLinks: false
  # After a signal the lab mends what it broke.
  terminationGracePeriodSeconds: 60
  securityContext: {{- include "common.podSecurity" .root | nindent 4 }}
  {{- include "common.scheduling" .root | nindent 2 }}
  containers:
    {{- include "lab.container" . | nindent 4 }}
  volumes:
    - {name: results, emptyDir: {sizeLimit: 256Mi}}
    - {name: tmp, emptyDir: {sizeLimit: 64Mi}}
    {{- with .root.Values.common.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- define "lab.seedSpec" -}}
backoffLimit: {{ .Values.seed.backoffLimit }}
activeDeadlineSeconds: {{ .Values.seed.activeDeadlineSeconds }}
template:
  {{- include "lab.pod" (dict "root" . "component" "seed" "token" false
    "args" (list "blog" "seed" "--posts" (.Values.seed.posts | int64 | toString) "--streams" (.Values.seed.streams | toString))
    "resources" .Values.seed.resources) | nindent 2 }}
{{- end }}
