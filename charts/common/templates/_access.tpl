{{/* What a service may do: its account, its role, and who may speak to whom. */}}

{{- define "common.serviceaccount" -}}
{{- if .Values.common.serviceAccount.create -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "common.serviceAccountName" . }}
  labels: {{- include "common.labels" (dict "root" . "component" "access") | nindent 4 }}
  {{- with .Values.common.serviceAccount.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
# A pod that needs the token asks for it.
automountServiceAccountToken: false
{{- end }}
{{- end }}

{{- define "common.rbac" -}}
{{- $rules := (include "app" . | fromYaml).rules -}}
{{- if and .Values.common.rbac.create $rules -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ include "common.fullname" . }}
  labels: {{- include "common.labels" (dict "root" . "component" "access") | nindent 4 }}
rules: {{- toYaml $rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ include "common.fullname" . }}
  labels: {{- include "common.labels" (dict "root" . "component" "access") | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ include "common.fullname" . }}}
subjects:
  - {kind: ServiceAccount, name: {{ include "common.serviceAccountName" . }}, namespace: {{ .Release.Namespace }}}
{{- end }}
{{- end }}

{{/* Egress to names and stores, as rules: dict "stores" (list "postgres") */}}
{{- define "common.egress" -}}
- to:
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: kube-system}
      podSelector:
        matchLabels: {k8s-app: kube-dns}
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- range .stores }}
- to:
    - podSelector:
        matchLabels: {app.kubernetes.io/name: {{ . }}}
  ports:
    - {port: {{ ternary 5432 6379 (eq . "postgres") }}, protocol: TCP}
{{- end }}
{{- end }}

{{/* Egress to the API server: not a pod, so an address range. */}}
{{- define "common.apiServerEgress" -}}
- to:
    - ipBlock: {cidr: {{ .Values.common.networkPolicy.apiServerCIDR }}}
  ports:
    {{- range .Values.common.networkPolicy.apiServerPorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}

{{/* Of the replicas, the migration and the test. In a chart of several parts the root has "parts" beside its own:
     merge (dict "parts" (list "api" "worker")) . */}}
{{- define "common.networkpolicy" -}}
{{- if .Values.common.networkPolicy.enabled -}}
{{ include "common.parts" (dict "root" . "parts" .parts "template" "common.replicasNetworkpolicy") }}
{{- if .Values.common.migrations.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "common.fullname" . }}-migrate
  labels: {{- include "common.labels" (dict "root" . "component" "migrate") | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- include "common.selector" (dict "root" . "component" "migrate") | nindent 6 }}
  policyTypes: [Ingress, Egress]
  egress:
    {{- include "common.egress" (dict "stores" (list "postgres")) | nindent 4 }}
    {{- with .Values.common.networkPolicy.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "common.fullname" . }}-test
  labels: {{- include "common.labels" (dict "root" . "component" "test") | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- include "common.selector" (dict "root" . "component" "test") | nindent 6 }}
  policyTypes: [Ingress, Egress]
  egress:
    {{- include "common.egress" (dict "stores" list) | nindent 4 }}
    - to:
        {{- range .parts | default (list "api") }}
        {{- $root := ternary (merge (dict "component" .) $) $ (hasKey $ "parts") }}
        - podSelector:
            matchLabels: {{- include "common.selector" (dict "root" $root "component" .) | nindent 14 }}
        {{- end }}
      ports:
        - {port: api, protocol: TCP}
{{- end }}
{{- end }}

{{- define "common.replicasNetworkpolicy" -}}
{{- $app := include "app" . | fromYaml -}}
{{- $values := .Values.common.networkPolicy -}}
{{- $component := include "common.component" . -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "common.fullname" . }}
  labels: {{- include "common.labels" (dict "root" . "component" $component) | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- include "common.selector" (dict "root" . "component" $component) | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports:
        - {port: api, protocol: TCP}
      {{- $open := and (eq $component "api") (or .Values.common.ingress.enabled (ne .Values.common.service.type "ClusterIP")) }}
      {{- if and $values.apiFrom (not $open) }}
      from: {{- toYaml $values.apiFrom | nindent 8 }}
      {{- end }}
    - ports:
        - {port: admin, protocol: TCP}
      from:
        - podSelector:
            matchExpressions:
              - {key: app.kubernetes.io/name, operator: In, values: [prometheus, lab]}
        {{- with $values.adminFrom }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $values.extraIngress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  egress:
    {{- include "common.egress" $app | nindent 4 }}
    {{- if $app.rules }}
    {{- include "common.apiServerEgress" . | nindent 4 }}
    {{- end }}
    {{- with $values.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
