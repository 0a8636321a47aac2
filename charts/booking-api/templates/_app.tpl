{{/* What is particular to this service; charts/common/templates/_names.tpl says what each line means. */}}
{{- define "app" -}}
binary: booking-api
env:
  LOCK_DEADLINE: {{ .Values.lock.deadline }}
  LOCK_LEASE: {{ .Values.lock.lease }}
  LOCK_FIRST_LEASE: {{ .Values.lock.firstLease }}
  LOCK_POLL: {{ .Values.lock.poll }}
  PLAIN_LEASE: {{ .Values.lock.plainLease }}
  MAX_HOLD: {{ .Values.lock.maxHold }}
  LOCK_ENTER: {{ .Values.lock.enter }}
  IDEMPOTENCY_RETENTION: {{ .Values.idempotencyRetention }}
  RESERVATION_TIMEOUT: {{ .Values.reservationTimeout }}
secrets:
  - DATABASE_URL
  - LOCK_REDIS_URL
  {{- if .Values.redlock.enabled }}
  - REDLOCK_REDIS_URLS
  {{- end }}
  {{- if .Values.pageCache.enabled }}
  - CACHE_REDIS_URL
  {{- end }}
stores:
  - postgres
  - redis-lock
  {{- if .Values.redlock.enabled }}
  - redlock
  {{- end }}
  {{- if .Values.pageCache.enabled }}
  - redis-cache
  {{- end }}
rules:
  {{- if .Values.kubernetesLeases.enabled }}
  # What the lock k8s-lease does, and no more: it never deletes a Lease, since its number of transitions is the fence.
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    verbs: [get, create, update]
  {{- end }}
{{- end }}
