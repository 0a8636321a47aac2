{{/* What is particular to this service; charts/common/templates/_names.tpl says what each line means. Two programs: those templates
     that are about the one or the other say so by `.component`. */}}
{{- define "app" -}}
{{- if eq (include "common.component" .) "worker" -}}
binary: shop-worker
env:
  GAP_REPAIR: {{ .Values.events.gapRepair | quote }}
  LEADER_TIMEOUT: {{ .Values.events.leaderTimeout }}
{{- else -}}
binary: shop-api
env:
  CACHE_TTL: {{ .Values.cache.ttl }}
  NEAR_CACHE: {{ .Values.cache.nearCache | quote }}
  NEAR_GRACE: {{ .Values.cache.nearGrace }}
  {{- if .Values.cache.nearStrict }}
  NEAR_STRICT: "true"
  {{- end }}
{{- end }}
secrets: [DATABASE_URL, CACHE_REDIS_URL]
stores: [postgres, redis-cache]
rules: []
{{- end }}

{{/* A template for both programs. */}}
{{- define "shop.both" -}}
{{ include "common.parts" (dict "root" .root "parts" (list "api" "worker") "template" .template) }}
{{- end }}

{{/* A template for the program that clients speak to. */}}
{{- define "shop.api" -}}
{{ include "common.parts" (dict "root" .root "parts" (list "api") "template" .template) }}
{{- end }}
