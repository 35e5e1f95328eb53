{{/*
The settings as variables, one a line: {origin: {url: ...}} is FILEPROXY__ORIGIN__URL. Called with the name so far and what is below it.
Whole numbers are written as such: Helm reads them as floating-point numbers.
*/}}
{{- define "fileproxy.variables" -}}
{{- $prefix := .prefix -}}
{{- range $key, $value := .settings }}
{{- $name := printf "%s__%s" $prefix (upper $key) }}
{{- if kindIs "map" $value }}
{{- include "fileproxy.variables" (dict "prefix" $name "settings" $value) }}
{{- else if kindIs "slice" $value }}
{{ $name }}: {{ join "," $value | quote }}
{{- else if and (kindIs "float64" $value) (eq $value (float64 (int64 $value))) }}
{{ $name }}: {{ int64 $value | toString | quote }}
{{- else if not (kindIs "invalid" $value) }}
{{ $name }}: {{ toString $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A duration of the settings ("10s", "2m", "1h") in seconds. */}}
{{- define "fileproxy.seconds" -}}
{{- $text := toString . -}}
{{- if not (regexMatch "^[0-9]+(s|m|min|h)$" $text) -}}
{{- fail (printf "%q is not in whole seconds, minutes or hours: set terminationGracePeriodSeconds to more than server.drain_notice and server.drain_timeout" $text) -}}
{{- end -}}
{{- $number := regexFind "^[0-9]+" $text | int -}}
{{- if hasSuffix "s" $text -}}{{ $number }}
{{- else if hasSuffix "h" $text -}}{{ mul $number 3600 }}
{{- else -}}{{ mul $number 60 }}
{{- end -}}
{{- end -}}

{{/* How long a pod has from SIGTERM on: more than it may take, so that nothing is killed. */}}
{{- define "fileproxy.grace" -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- $server := .Values.settings.server -}}
{{- add (include "fileproxy.seconds" $server.drain_notice) (include "fileproxy.seconds" $server.drain_timeout) 10 -}}
{{- else -}}
{{- int .Values.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}
