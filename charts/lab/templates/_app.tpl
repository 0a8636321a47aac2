{{/* What is particular to the lab; charts/common/templates/_names.tpl says what each line means. */}}
{{- define "app" -}}
binary: lab
secrets: [DATABASE_URL, CACHE_REDIS_URL, LOCK_REDIS_URL]
stores: [postgres, redis-cache, redis-lock]
rules:
  # Where the replicas are.
  - apiGroups: [discovery.k8s.io]
    resources: [endpointslices]
    verbs: [list, watch]
  {{- if .Values.faults.enabled }}
  - apiGroups: [""]
    resources: [services]
    verbs: [get]
  - apiGroups: [apps]
    resources: [deployments]
    verbs: [get]
  # pod-kill, store-restart
  - apiGroups: [""]
    resources: [pods]
    verbs: [get, list, delete]
  # pod-kill, pause: a signal to a container's process
  - apiGroups: [""]
    resources: [pods/exec]
    verbs: [create, get]
  # scale, and the contention of bookings over more and more replicas
  - apiGroups: [apps]
    resources: [deployments/scale]
    verbs: [get, patch]
  # rollout
  - apiGroups: [apps]
    resources: [deployments]
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
    - {name: METRICS_LISTEN, value: "0.0.0.0:9080"}
    - {name: RUST_LOG, value: {{ .root.Values.common.log.filter | quote }}}
    {{- include "common.secretEnv" (dict "root" .root "names" (include "app" .root | fromYaml).secrets) | nindent 4 }}
    {{- with .root.Values.common.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .root.Values.common.extraEnvFrom }}
  envFrom: {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    - {name: admin, containerPort: 9080, protocol: TCP}
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
  annotations:
    {{- if and (eq (first .args) "fault") .root.Values.common.metrics.scrape }}
    # What is broken on purpose just now: the dashboards mark it.
    prometheus.io/scrape: "true"
    prometheus.io/port: "9080"
    prometheus.io/path: /metrics
    {{- end }}
    {{- with .root.Values.common.podAnnotations }}
    {{- toYaml . | nindent 4 }}
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

{{/* A Job that fills a service's tables: dict "root" . "service" "blog" "rows" "posts" */}}
{{- define "lab.seed" -}}
{{- $seed := .root.Values.seed -}}
{{- $spec := include "lab.seedSpec" (merge . (dict "args"
  (list .service "seed" (printf "--%s" .rows) (get $seed .rows | int64 | toString) "--streams" ($seed.streams | toString)))) -}}
apiVersion: batch/v1
kind: Job
metadata:
  # A Job cannot be changed: another specification is another Job.
  name: {{ include "common.fullname" .root }}-seed-{{ .service }}-{{ $spec | sha256sum | trunc 6 }}
  labels: {{- include "common.labels" (dict "root" .root "component" "seed") | nindent 4 }}
spec: {{- $spec | nindent 2 }}
{{- end }}

{{- define "lab.seedSpec" -}}
{{- $seed := .root.Values.seed -}}
backoffLimit: {{ $seed.backoffLimit }}
activeDeadlineSeconds: {{ $seed.activeDeadlineSeconds }}
template:
  {{- include "lab.pod" (dict "root" .root "component" "seed" "token" false "args" .args "resources" $seed.resources) | nindent 2 }}
{{- end }}
