{{/* The objects that make a service run: settings, replicas, and the ways to them. */}}

{{- define "common.configmap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "common.fullname" . }}
  labels: {{- include "common.labels" (dict "root" . "component" (include "common.component" .)) | nindent 4 }}
data: {{- include "common.config" . | nindent 2 }}
{{- end }}

{{- define "common.deployment" -}}
{{- $app := include "app" . | fromYaml -}}
{{- $values := .Values.common -}}
{{- $component := include "common.component" . -}}
{{- $selector := include "common.selector" (dict "root" . "component" $component) -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "common.fullname" . }}
  labels: {{- include "common.labels" (dict "root" . "component" $component) | nindent 4 }}
spec:
  {{- if not (and $values.autoscaling.enabled (eq $component "api")) }}
  replicas: {{ $values.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  progressDeadlineSeconds: 300
  # A replica goes only when its successor is ready: a broken image leaves the old ones serving.
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  selector:
    matchLabels: {{- $selector | nindent 6 }}
  template:
    metadata:
      labels: {{- include "common.podLabels" (dict "root" . "component" $component "stores" $app.stores) | nindent 8 }}
      annotations:
        # Neither a ConfigMap nor a Secret restarts the pods that have read it.
        checksum/config: {{ include "common.config" . | sha256sum }}
        {{- with lookup "v1" "Secret" .Release.Namespace (include "common.storesSecret" .) }}
        checksum/stores: {{ toJson .data | sha256sum }}
        {{- end }}
        {{- if $values.metrics.scrape }}
        prometheus.io/scrape: "true"
        prometheus.io/port: "9080"
        prometheus.io/path: /metrics
        {{- end }}
        {{- with $values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "common.serviceAccountName" . }}
      automountServiceAccountToken: {{ not (empty $app.rules) }}
      # Variables such as REDIS_LOCK_PORT of each Service would only be in the way of the settings.
      enableServiceLinks: false
      shareProcessNamespace: {{ $values.shareProcessNamespace }}
      securityContext: {{- include "common.podSecurity" . | nindent 8 }}
      # The service drains by itself on SIGTERM, so there is no preStop hook: it fails its readiness, serves on, finishes, and closes
      # what it has open, for each of which it allows itself 5 s.
      terminationGracePeriodSeconds: {{ add $values.server.drainSeconds $values.server.graceSeconds 20 }}
      {{- if $values.topologySpread.enabled }}
      # Each generation by itself (matchLabelKeys): during an update the old replicas would push the new ones together.
      topologySpreadConstraints:
        {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
        - topologyKey: {{ . }}
          maxSkew: 1
          whenUnsatisfiable: {{ $values.topologySpread.whenUnsatisfiable }}
          labelSelector:
            matchLabels: {{- $selector | nindent 14 }}
          matchLabelKeys: [pod-template-hash]
        {{- end }}
      {{- end }}
      {{- include "common.scheduling" . | nindent 6 }}
      containers:
        - name: {{ $app.binary }}
          image: {{ include "common.image" . }}
          imagePullPolicy: {{ $values.image.pullPolicy }}
          command: {{ $values.command | default (list (printf "/usr/local/bin/%s" $app.binary) "serve") | toJson }}
          envFrom:
            - configMapRef: {name: {{ include "common.fullname" . }}}
            {{- with $values.extraEnvFrom }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          env:
            {{- include "common.secretEnv" (dict "root" . "names" $app.secrets) | nindent 12 }}
            {{- with $values.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          ports:
            - {name: api, containerPort: 8080, protocol: TCP}
            - {name: admin, containerPort: 9080, protocol: TCP}
          startupProbe:
            httpGet: {path: /startupz, port: admin}
            periodSeconds: {{ $values.probes.startup.periodSeconds }}
            failureThreshold: {{ $values.probes.startup.failureThreshold }}
            timeoutSeconds: {{ $values.probes.timeoutSeconds }}
          readinessProbe:
            httpGet: {path: /readyz, port: admin}
            periodSeconds: {{ $values.probes.readiness.periodSeconds }}
            failureThreshold: {{ $values.probes.readiness.failureThreshold }}
            timeoutSeconds: {{ $values.probes.timeoutSeconds }}
          livenessProbe:
            httpGet: {path: /livez, port: admin}
            periodSeconds: {{ $values.probes.liveness.periodSeconds }}
            failureThreshold: {{ $values.probes.liveness.failureThreshold }}
            timeoutSeconds: {{ $values.probes.timeoutSeconds }}
          resources: {{- toYaml $values.resources | nindent 12 }}
          securityContext: {{- include "common.containerSecurity" . | nindent 12 }}
          {{- with $values.extraVolumeMounts }}
          volumeMounts: {{- toYaml . | nindent 12 }}
          {{- end }}
      {{- with $values.extraVolumes }}
      volumes: {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}

{{- define "common.service" -}}
{{- $values := .Values.common.service -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "common.fullname" . }}
  labels: {{- include "common.labels" (dict "root" . "component" (include "common.component" .)) | nindent 4 }}
  {{- with $values.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ $values.type }}
  selector: {{- include "common.selector" (dict "root" . "component" (include "common.component" .)) | nindent 4 }}
  ports:
    - name: api
      port: {{ $values.port }}
      targetPort: api
      appProtocol: http
      {{- if and (eq $values.type "NodePort") $values.nodePort }}
      nodePort: {{ $values.nodePort }}
      {{- end }}
---
{{ include "common.podsService" . }}
{{- end }}

{{- define "common.podsService" -}}
# Has the address of each ready replica, for whoever wants to speak to all of them.
apiVersion: v1
kind: Service
metadata:
  name: {{ include "common.fullname" . }}-pods
  labels: {{- include "common.labels" (dict "root" . "component" (include "common.component" .)) | nindent 4 }}
spec:
  type: ClusterIP
  clusterIP: None
  selector: {{- include "common.selector" (dict "root" . "component" (include "common.component" .)) | nindent 4 }}
  ports:
    - {name: api, port: 8080, targetPort: api, appProtocol: http}
    - {name: admin, port: 9080, targetPort: admin, appProtocol: http}
{{- end }}

{{- define "common.ingress" -}}
{{- $values := .Values.common.ingress -}}
{{- if $values.enabled -}}
{{- if not $values.hosts }}
{{- fail "common.ingress.hosts: at least one host, or common.ingress.enabled=false" }}
{{- end -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ include "common.fullname" . }}
  labels: {{- include "common.labels" (dict "root" . "component" (include "common.component" .)) | nindent 4 }}
  {{- with $values.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with $values.className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- with $values.tlsSecret }}
  tls:
    - secretName: {{ . }}
      hosts: {{- toYaml $values.hosts | nindent 8 }}
  {{- end }}
  rules:
    {{- range $values.hosts }}
    - host: {{ . | quote }}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: {{ include "common.fullname" $ }}
                port: {name: api}
    {{- end }}
{{- end }}
{{- end }}

{{- define "common.hpa" -}}
{{- $values := .Values.common.autoscaling -}}
{{- if $values.enabled -}}
{{- if gt (int $values.minReplicas) (int $values.maxReplicas) }}
{{- fail "common.autoscaling.minReplicas: not more than maxReplicas" }}
{{- end -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "common.fullname" . }}
  labels: {{- include "common.labels" (dict "root" . "component" (include "common.component" .)) | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ include "common.fullname" . }}}
  minReplicas: {{ $values.minReplicas }}
  maxReplicas: {{ $values.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: {{ $values.targetCPUUtilizationPercentage }}}
{{- end }}
{{- end }}

{{- define "common.pdb" -}}
{{- $values := .Values.common.podDisruptionBudget -}}
{{- if $values.enabled -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "common.fullname" . }}
  labels: {{- include "common.labels" (dict "root" . "component" (include "common.component" .)) | nindent 4 }}
spec:
  maxUnavailable: {{ $values.maxUnavailable }}
  # A replica that is not ready serves nobody: it must not hold up the drain of its node.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{- include "common.selector" (dict "root" . "component" (include "common.component" .)) | nindent 6 }}
{{- end }}
{{- end }}
