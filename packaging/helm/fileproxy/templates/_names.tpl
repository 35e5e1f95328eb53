{{/* The name of all resources: the release's, with the chart's where the release is called otherwise. */}}
{{- define "fileproxy.name" -}}
{{- if contains "fileproxy" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-fileproxy" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What Services and the Deployment find the pods by: never changes for a release. */}}
{{- define "fileproxy.selector" -}}
app.kubernetes.io/name: fileproxy
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "fileproxy.labels" -}}
{{ include "fileproxy.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}
