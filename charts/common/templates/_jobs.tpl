{{/* What runs once: the migration, and the tests of `helm test`. */}}

{{/* No hook: a hook would run before the network policy that lets it through, and what it does is safe at any time. Replicas of
     the new version are not ready until it is done, and those of the old one serve until then. */}}
{{- define "common.migration" -}}
{{- $values := .Values.common.migrations -}}
{{- if $values.enabled -}}
{{- $spec := include "common.migrationSpec" . -}}
apiVersion: batch/v1
kind: Job
metadata:
  # A Job cannot be changed: another specification is another Job.
  name: {{ include "common.fullname" . }}-migrate-{{ $spec | sha256sum | trunc 6 }}
  labels: {{- include "common.labels" (dict "root" . "component" "migrate") | nindent 4 }}
spec: {{- $spec | nindent 2 }}
{{- end }}
{{- end }}

{{- define "common.migrationSpec" -}}
{{- $app := include "app" . | fromYaml -}}
{{- $values := .Values.common.migrations -}}
backoffLimit: {{ $values.backoffLimit }}
activeDeadlineSeconds: {{ $values.activeDeadlineSeconds }}
{{- if not (kindIs "invalid" $values.ttlSecondsAfterFinished) }}
ttlSecondsAfterFinished: {{ $values.ttlSecondsAfterFinished }}
{{- end }}
template:
  metadata:
    labels: {{- include "common.podLabels" (dict "root" . "component" "migrate" "stores" (list "postgres")) | nindent 6 }}
  spec:
    restartPolicy: OnFailure
    serviceAccountName: {{ include "common.serviceAccountName" . }}
    automountServiceAccountToken: false
    enableServiceLinks: false
    securityContext: {{- include "common.podSecurity" . | nindent 6 }}
    {{- include "common.scheduling" . | nindent 4 }}
    containers:
      - name: migrate
        image: {{ include "common.image" . }}
        imagePullPolicy: {{ .Values.common.image.pullPolicy }}
        command: [{{ $app.binary }}, migrate]
        env:
          - {name: LOG_FORMAT, value: {{ .Values.common.log.format }}}
          - {name: RUST_LOG, value: {{ .Values.common.log.filter | quote }}}
          {{- include "common.secretEnv" (dict "root" . "names" (list "DATABASE_URL")) | nindent 10 }}
        resources: {{- toYaml $values.resources | nindent 10 }}
        securityContext: {{- include "common.containerSecurity" . | nindent 10 }}
{{- end }}

{{/* A pod of `helm test` that runs a script of the chart: dict "root" . "script" "blog.sh" */}}
{{- define "common.test" -}}
{{- $values := .root.Values.common -}}
{{- $name := printf "%s-test" (include "common.fullname" .root) -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ $name }}
  labels: {{- include "common.labels" (dict "root" .root "component" "test") | nindent 4 }}
data:
  http.sh: |
    {{- include "common.testHttp" . | nindent 4 }}
  test.sh: |
    {{- .root.Files.Get (printf "files/%s" .script) | nindent 4 }}
---
apiVersion: v1
kind: Pod
metadata:
  name: {{ $name }}
  labels: {{- include "common.podLabels" (dict "root" .root "component" "test" "stores" list) | nindent 4 }}
  annotations:
    helm.sh/hook: test
    helm.sh/hook-delete-policy: before-hook-creation
spec:
  restartPolicy: Never
  activeDeadlineSeconds: 120
  serviceAccountName: {{ include "common.serviceAccountName" .root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext: {{- include "common.podSecurity" .root | nindent 4 }}
  {{- include "common.scheduling" .root | nindent 2 }}
  containers:
    - name: test
      image: {{ $values.tests.image.repository }}:{{ $values.tests.image.tag }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      command: [bash, /test/test.sh]
      env:
        - {name: SERVICE, value: {{ include "common.fullname" .root }}}
        - {name: PORT, value: {{ $values.service.port | quote }}}
      resources:
        requests: {cpu: 50m, memory: 32Mi}
        limits: {memory: 64Mi}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: test, mountPath: /test, readOnly: true}
        - {name: tmp, mountPath: /tmp}
  volumes:
    - name: test
      configMap: {name: {{ $name }}}
    - name: tmp
      emptyDir: {sizeLimit: 16Mi}
{{- end }}

{{/* HTTP in bash alone, for an image that has no curl. */}}
{{- define "common.testHttp" -}}
# shellcheck shell=bash
# http METHOD HOST PORT PATH [BODY [HEADER...]]: sets status and body, and head with the headers in lower case.
http() {
    local method=$1 host=$2 port=$3 path=$4 content=${5:-} line headers=''
    shift $(($# < 5 ? $# : 5))
    for line in "$@"; do headers+="$line"$'\r\n'; done
    if [[ -n $content ]]; then
        headers+=$'content-type: application/json\r\n'
        headers+="content-length: $(LC_ALL=C; printf '%d' "${#content}")"$'\r\n'
    fi
    exec 3<>"/dev/tcp/$host/$port" || return 1
    printf '%s %s HTTP/1.1\r\nhost: %s\r\nconnection: close\r\n%s\r\n%s' "$method" "$path" "$host" "$headers" "$content" >&3
    read -r -t 15 -u 3 _ status _ || status='none within 15 s'
    head=''
    while IFS= read -r -t 15 -u 3 line && line=${line%$'\r'} && [[ -n $line ]]; do head+="${line,,}"$'\n'; done
    body=$(cat <&3)
    exec 3>&-
}

# header NAME: the value of a header of the last answer.
header() { sed -n "s/^$1: //p" <<<"$head"; }

# member NAME: a number or a plain text of the last answer's JSON, the first of that name.
member() { grep -o "\"$1\":[^,}]*" <<<"$body" | head -n 1 | cut -d: -f2- | tr -d '"'; }

fail() {
    echo "FAILED: $*" >&2
    echo "the last answer: ${status:-none} ${body:0:500}" >&2
    exit 1
}

# The addresses of all ready replicas. Names may take a moment to be known after an install.
replicas() {
    local try addresses
    for try in {1..20}; do
        addresses=$(getent ahostsv4 "$SERVICE-pods" | awk '{print $1}' | sort -u)
        [[ -z $addresses ]] || break
        sleep 1
    done
    [[ -n $addresses ]] || fail "$SERVICE-pods has no address after $try tries: is a replica ready?"
    printf '%s\n' "$addresses"
}
{{- end }}
