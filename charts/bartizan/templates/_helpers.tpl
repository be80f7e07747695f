{{- define "bartizan.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "bartizan.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: bartizan
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The same as in config/, so that an installation from there can be taken over. */ -}}
{{- define "bartizan.selector" -}}
app.kubernetes.io/name: bartizan
app.kubernetes.io/component: controller-manager
{{- end -}}

{{- define "bartizan.serviceAccount" -}}
{{- if .Values.serviceAccount.name -}}
{{- .Values.serviceAccount.name -}}
{{- else if .Values.serviceAccount.create -}}
{{- printf "%s-controller-manager" (include "bartizan.fullname" .) -}}
{{- else -}}
{{- fail "serviceAccount.name: name your ServiceAccount, or set serviceAccount.create to true" -}}
{{- end -}}
{{- end -}}

{{- define "bartizan.subjects" -}}
- kind: ServiceAccount
  name: {{ include "bartizan.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{- /* An image by digest. Context: root, image (manager or gate). */ -}}
{{- define "bartizan.image" -}}
{{- $image := index .root.Values.images .image -}}
{{- if not $image.digest -}}
{{- fail (printf "images.%s.digest is required: sha256: and 64 digits, as your registry shows it (a tag can be moved, a digest cannot)" .image) -}}
{{- end -}}
{{- $repository := $image.repository -}}
{{- with .root.Values.images.registry -}}
{{- $parts := splitList "/" $repository -}}
{{- $first := first $parts -}}
{{- if or (contains "." $first) (contains ":" $first) (eq $first "localhost") -}}
{{- $repository = join "/" (rest $parts) -}}
{{- end -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository -}}
{{- end -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- end -}}

{{- define "bartizan.metricsSecret" -}}
{{- printf "%s-metrics-tls" (include "bartizan.fullname" .) -}}
{{- end -}}

{{- define "bartizan.metricsService" -}}
{{- printf "%s-controller-manager-metrics" (include "bartizan.fullname" .) -}}
{{- end -}}
