{{- define "finetune-operator.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "finetune-operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "finetune-operator.labels" -}}
{{ include "finetune-operator.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "finetune-operator.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "finetune-operator.fullname" .) -}}
{{- end -}}

{{- define "finetune-operator.progressKeySecret" -}}
{{- .Values.progressKey.existingSecret | default (printf "%s-progress-key" (include "finetune-operator.fullname" .)) -}}
{{- end -}}

{{/* repository@digest or repository:tag of .image; .version stands in for an empty tag */}}
{{- define "finetune-operator.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .version) -}}
{{- end -}}
{{- end -}}

{{/* What the operator does in the namespaces it watches; the operator asks for exactly these before it starts. AdapterDeployments are among
them without serving too: the finalizer of those that are deleted has to come off. */}}
{{- define "finetune-operator.rules" -}}
- apiGroups: [finetune.dev]
  resources: [finetunejobs]
  verbs: [get, list, watch]
- apiGroups: [finetune.dev]
  resources: [finetunejobs/status]
  verbs: [patch]
- apiGroups: [finetune.dev]
  resources: [finetunejobs/finalizers]
  verbs: [update]
- apiGroups: [finetune.dev]
  resources: [adapterdeployments]
  verbs: [{{ if .Values.serving.enabled }}get, {{ end }}list, watch, patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [{{ if .Values.serving.enabled }}get, {{ end }}list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.serving.enabled }}
{{ include "finetune-operator.servingRules" . }}
{{- end }}
{{- if .Values.governance.enabled }}
- apiGroups: [finetune.dev]
  resources: [trainingdatasets, approvals]
  verbs: [list, watch]
- apiGroups: [finetune.dev]
  resources: [trainingdatasets/status]
  verbs: [patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [finetune.dev]
  resources: [governancefacts]
  verbs: [list, watch, create, patch, delete]
{{- end }}
{{- end -}}

{{/* What governance reads of the whole cluster, whatever namespaces are watched. */}}
{{- define "finetune-operator.governanceRules" -}}
- apiGroups: [finetune.dev]
  resources: [governancepolicies]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [namespaces, nodes]
  verbs: [list, watch]
{{- end -}}

{{/* For AdapterDeployments, and for what their servers and routers are made of; the right to get pods is one that the router is given.
     The one Secret holds the key of engines that users run themselves. */}}
{{- define "finetune-operator.servingRules" -}}
- apiGroups: [finetune.dev]
  resources: [adapterdeployments/status]
  verbs: [patch]
- apiGroups: [finetune.dev]
  resources: [adapterdeployments/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [finetune-engine-key]
  verbs: [get]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, serviceaccounts]
  verbs: [get, create, patch, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, create, patch, delete]
{{- end -}}

{{/* What --serving is told; the routers' pin token is the operator's own too. */}}
{{- define "finetune-operator.servingArguments" -}}
{{- with .Values.serving -}}
- --serving
- --inference-image={{ include "finetune-operator.image" (dict "image" .image "version" $.Chart.AppVersion) }}
{{- with .vllmImage }}
- --vllm-image={{ . }}
{{- end }}
- --router-replicas={{ int64 .router.replicas }}
- --router-workers={{ int64 .router.workers }}
- --{{ if not .router.requireApiKeys }}no-{{ end }}router-require-api-keys
{{- with .pinSecret }}
- --router-pin-secret={{ . }}
- --rollout-pin-token-file=/etc/finetune/pin/token
{{- end }}
- --{{ if not .networkPolicies }}no-{{ end }}serving-network-policies
{{- with .clientsFrom }}
- {{ printf "--serving-clients-from=%s" (toJson .) | quote }}
{{- end }}
{{- with .metricsFrom }}
- {{ printf "--serving-metrics-from=%s" (toJson .) | quote }}
{{- end }}
{{- range $.Values.networkPolicy.apiServerPorts }}
- --serving-api-server-port={{ int64 . }}
{{- end }}
{{- range .apiServerCIDRs }}
- {{ printf "--serving-api-server-cidr=%s" . | quote }}
{{- end }}
- --rollout-look-seconds={{ .rollout.lookSeconds }}
- --rollout-poll-seconds={{ .rollout.pollSeconds }}
- --rollout-rest-seconds={{ .rollout.restSeconds }}
- --rollout-audit-seconds={{ .rollout.auditSeconds }}
- --rollout-unload-seconds={{ int64 .rollout.unloadSeconds }}
- --rollout-workers={{ int64 .rollout.workers }}
{{- with .prometheus }}
- --rollout-prometheus-freshness-seconds={{ int64 .freshnessSeconds }}
{{- with .url }}
- --rollout-prometheus-url={{ . }}
{{- end }}
{{- if .bearerTokenSecret }}
- --rollout-prometheus-token-file=/etc/finetune/prometheus/token
{{- end }}
{{- if .caConfigMap }}
- --rollout-prometheus-ca-file=/etc/finetune/prometheus/ca.crt
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}
