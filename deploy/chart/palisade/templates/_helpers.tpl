{{- define "palisade.selector" -}}
app.kubernetes.io/name: palisade
app.kubernetes.io/component: agent
{{- end }}

{{- define "palisade.labels" -}}
{{ include "palisade.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "palisade.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* ADDRESS:PORT, with the brackets that an IPv6 address needs. */ -}}
{{- define "palisade.listen" -}}
{{- with .Values.listen -}}
{{- if contains ":" .address -}}
[{{ .address }}]:{{ .port }}
{{- else -}}
{{ .address }}:{{ .port }}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* Where the kubelet, on the same network, finds what listens there. */ -}}
{{- define "palisade.probeHost" -}}
{{- if has .Values.listen.address (list "0.0.0.0" "::") -}}
127.0.0.1
{{- else -}}
{{ .Values.listen.address }}
{{- end -}}
{{- end }}

{{- /* What every container that writes to nf_tables has: uid 0 with CAP_NET_ADMIN and nothing else. */ -}}
{{- define "palisade.container" -}}
image: {{ include "palisade.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  runAsUser: 0
  runAsGroup: 0
  allowPrivilegeEscalation: false
  privileged: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
    add:
      - NET_ADMIN
      {{- with .Values.extraCapabilities }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
{{- end }}
