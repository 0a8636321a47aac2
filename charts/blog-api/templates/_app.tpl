{{/* What is particular to this service; charts/common/templates/_names.tpl says what each line means. */}}
{{- define "app" -}}
binary: blog-api
env:
  CACHE: {{ .Values.cache.mode | quote }}
{{- if eq .Values.cache.mode "off" }}
secrets: [DATABASE_URL]
stores: [postgres]
{{- else }}
secrets: [DATABASE_URL, CACHE_REDIS_URL]
stores: [postgres, redis-cache]
{{- end }}
rules: []
{{- end }}
