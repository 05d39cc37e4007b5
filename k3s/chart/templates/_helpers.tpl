{{- define "hinterland.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "hinterland.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* Labels of everything; call with (list . "component"). */ -}}
{{- define "hinterland.labels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: hinterland
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end -}}

{{- define "hinterland.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: hinterland
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "hinterland.claim" -}}
{{- .Values.storage.existingClaim | default (printf "%s-state" (include "hinterland.name" .)) -}}
{{- end -}}

{{- define "hinterland.passphraseSecret" -}}
{{- .Values.secrets.passphrase | default (printf "%s-passphrase" (include "hinterland.name" .)) -}}
{{- end -}}

{{- define "hinterland.databaseSecret" -}}
{{- if .Values.postgres.existingSecret -}}
{{ .Values.postgres.existingSecret }}
{{- else if .Values.postgres.bundled.enabled -}}
{{ include "hinterland.name" . }}-postgres
{{- end -}}
{{- end -}}

{{- /* Names of all coordinators that there may ever be: the pods of the stateful set. */ -}}
{{- define "hinterland.replicas" -}}
{{- $most := ternary .Values.coordinator.autoscaling.maxReplicas .Values.coordinator.replicas .Values.coordinator.autoscaling.enabled | int -}}
{{- if gt $most 1 -}}
{{- $names := list -}}
{{- range $i := until $most -}}
{{- $names = append $names (printf "%s-coordinator-%d" (include "hinterland.name" $) $i) -}}
{{- end -}}
{{- join "," $names -}}
{{- end -}}
{{- end -}}

{{- /* Pod Security "restricted". */ -}}
{{- define "hinterland.podSecurity" -}}
runAsNonRoot: true
{{- if not .Values.openshift }}
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "hinterland.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* A service mesh must not take our own mutual TLS apart; call with (list . "ports"). */ -}}
{{- define "hinterland.mesh" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.mesh.istio }}
traffic.sidecar.istio.io/excludeInboundPorts: {{ index . 1 | quote }}
traffic.sidecar.istio.io/excludeOutboundPorts: "8883,9092,5432"
{{- end }}
{{- if $root.Values.mesh.linkerd }}
config.linkerd.io/opaque-ports: {{ index . 1 | quote }}
{{- end }}
{{- end -}}

{{- define "hinterland.environment" -}}
- name: HINTERLAND_DIR
  value: /var/lib/hinterland
- name: HINTERLAND_SECRETS_PASSPHRASE_FILE
  value: /run/secrets/hinterland/passphrase
{{- with include "hinterland.databaseSecret" . }}
- name: HINTERLAND_STORE_URL
  valueFrom: {secretKeyRef: {name: {{ . }}, key: url}}
{{- end }}
{{- end -}}

{{- define "hinterland.mounts" -}}
- {name: state, mountPath: /var/lib/hinterland}
- {name: passphrase, mountPath: /run/secrets/hinterland, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if .Values.vault.enabled }}
- {name: approle, mountPath: /run/secrets/vault, readOnly: true}
{{- if .Values.vault.caSecret }}
- {name: vault-ca, mountPath: /run/secrets/vault-ca, readOnly: true}
{{- end }}
{{- end }}
{{- end -}}

{{- define "hinterland.volumes" -}}
- name: state
  persistentVolumeClaim: {claimName: {{ include "hinterland.claim" . }}}
- name: passphrase
  secret: {secretName: {{ include "hinterland.passphraseSecret" . }}, defaultMode: 0440}
- name: tmp
  emptyDir: {sizeLimit: 2Gi}
{{- if .Values.vault.enabled }}
- name: approle
  secret: {secretName: {{ required "vault.approleSecret names the secret with role-id and secret-id" .Values.vault.approleSecret }}, defaultMode: 0440}
{{- if .Values.vault.caSecret }}
- name: vault-ca
  secret: {secretName: {{ .Values.vault.caSecret }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- end -}}

{{- define "hinterland.check" -}}
{{- $many := or .Values.coordinator.autoscaling.enabled (gt (int .Values.coordinator.replicas) 1) -}}
{{- if and $many (not (include "hinterland.databaseSecret" .)) -}}
{{- fail "several coordinators need PostgreSQL: say postgres.existingSecret, or postgres.bundled.enabled for a trial" -}}
{{- end -}}
{{- if and $many (ne .Values.storage.accessMode "ReadWriteMany") -}}
{{- fail "several coordinators share one directory: storage.accessMode must be ReadWriteMany" -}}
{{- end -}}
{{- if and .Values.postgres.existingSecret .Values.postgres.bundled.enabled -}}
{{- fail "postgres.existingSecret and postgres.bundled.enabled exclude each other" -}}
{{- end -}}
{{- end -}}

{{- /* A ReadWriteOnce volume belongs to one node, so what shares it runs where the coordinator runs. */ -}}
{{- define "hinterland.sameNode" -}}
{{- if eq .Values.storage.accessMode "ReadWriteOnce" }}
affinity:
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels: {{- include "hinterland.selector" (list . "coordinator") | nindent 12 }}
{{- end }}
{{- end -}}

{{- /* The coordinator makes the directory. */ -}}
{{- define "hinterland.wait" -}}
- name: wait
  image: {{ include "hinterland.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [/bin/sh, -ec, 'until [ -e /var/lib/hinterland/cli.toml ]; do echo "waiting for the coordinator to make its directory"; sleep 2; done']
  securityContext: {{- include "hinterland.containerSecurity" . | nindent 4 }}
  resources:
    requests: {cpu: 10m, memory: 16Mi}
    limits: {memory: 64Mi}
  volumeMounts:
    - {name: state, mountPath: /var/lib/hinterland, readOnly: true}
{{- end -}}
