{{/* Every template here is called with the root of a service's chart. What is particular to the service, the chart
     says in a template of its own, "app", as YAML:

       binary: blog-api          # in the image
       env: {CACHE: fenced}      # its settings beside those that all services have
       secrets: [DATABASE_URL]   # its settings that come from the secret of the stores
       stores: [postgres]        # which of postgres, redis-cache, redis-lock it may reach
       rules: []                 # of its role, if it speaks to the API server
*/}}

{{- define "common.name" -}}
{{ default .Chart.Name .Values.common.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{/* 52 characters and not 63: a Job's or a Service's ending still fits behind it. */}}
{{- define "common.fullname" -}}
{{- if .Values.common.fullnameOverride -}}
{{ .Values.common.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "common.name" .) .Release.Name -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name (include "common.name" .) | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "common.serviceAccountName" -}}
{{- $account := .Values.common.serviceAccount -}}
{{- if $account.create -}}
{{ default (include "common.fullname" .) $account.name }}
{{- else -}}
{{ default "default" $account.name }}
{{- end -}}
{{- end }}

{{- define "common.storesSecret" -}}
{{ default (printf "%s-stores" .Chart.Name) .Values.common.stores.existingSecret }}
{{- end }}

{{- define "common.image" -}}
{{- $image := .Values.common.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- end -}}
{{- end }}

{{/* What selects the pods of one component: dict "root" . "component" "api" */}}
{{- define "common.selector" -}}
app.kubernetes.io/name: {{ include "common.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* The labels of an object: dict "root" . "component" "api" */}}
{{- define "common.labels" -}}
{{ include "common.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: redis-in-real-backends
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.common.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The labels of a pod, which must not change with the chart's version alone: dict "root" . "component" "api" "stores" (list "postgres") */}}
{{- define "common.podLabels" -}}
{{ include "common.selector" . }}
app.kubernetes.io/part-of: redis-in-real-backends
{{- range .stores }}
{{ . }}-client: "true"
{{- end }}
{{- with .root.Values.common.labels }}
{{ toYaml . }}
{{- end }}
{{- with .root.Values.common.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}
