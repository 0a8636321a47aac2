{{/* Every template here is called with the root of a service's chart. What is particular to the service, the chart
     says in a template of its own, "app", as YAML:

       binary: blog-api          # in the image
       env: {CACHE: fenced}      # its settings beside those that all services have
       secrets: [DATABASE_URL]   # its settings that come from the secret of the stores
       stores: [postgres]        # which of postgres, redis-cache, redis-lock it may reach
       rules: []                 # of its role, if it speaks to the API server

     A chart of several programs calls a template once for each of them, through "common.parts": `app` and all that is here then
     see `.component`, which is "api" where there is none.
*/}}

{{/* A template for several parts of one chart: dict "root" . "parts" (list "api" "worker") "template" "common.pdb"
     Each is an object of its own, with a name and a selector of its own. What `.Values.worker` says, it says for that part
     instead of `.Values.common`. Without parts, for the chart as a whole. */}}
{{- define "common.parts" -}}
{{- $call := . -}}
{{- if not .parts }}{{ include .template .root }}{{ end -}}
{{- range $index, $part := .parts }}
{{- if $index }}{{ "\n---\n" }}{{ end }}
{{- $own := dict "common" (default dict (get $call.root.Values $part)) -}}
{{- $root := omit $call.root "Values" | merge (dict "component" $part "Values" (mergeOverwrite (deepCopy $call.root.Values) $own)) -}}
{{- include $call.template $root -}}
{{- end }}
{{- end }}

{{- define "common.component" -}}
{{ default "api" .component }}
{{- end }}

{{/* A name in full, with that of the part behind it: dict "root" . "name" "shop"
     52 characters and not 63: a Job's or a Service's ending still fits behind it. */}}
{{- define "common.named" -}}
{{- $part := ternary (printf "-%s" .root.component) "" (hasKey .root "component") -}}
{{ .name | trunc (sub 52 (len $part) | int) | trimSuffix "-" }}{{ $part }}
{{- end }}

{{- define "common.name" -}}
{{ include "common.named" (dict "root" . "name" (default .Chart.Name .Values.common.nameOverride)) }}
{{- end }}

{{- define "common.fullname" -}}
{{- $name := include "common.name" (omit . "component") -}}
{{- $full := .Values.common.fullnameOverride | default (ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name)) -}}
{{ include "common.named" (dict "root" . "name" $full) }}
{{- end }}

{{- define "common.serviceAccountName" -}}
{{- $account := .Values.common.serviceAccount -}}
{{- if $account.create -}}
{{ default (include "common.fullname" (omit . "component")) $account.name }}
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
