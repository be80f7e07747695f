{{- /* Resources that are in no namespace: a Role cannot give them. A test compares this with a real API server. */ -}}
{{- define "bartizan.clusterResources" -}}
- apiextensions.k8s.io/customresourcedefinitions
- /namespaces
- bartizan.dev/mcpsecurityprofiles
- bartizan.dev/mcpsecurityprofiles/status
- rbac.authorization.k8s.io/clusterrolebindings
- rbac.authorization.k8s.io/clusterroles
{{- end -}}

{{- /*
The rules of the operator's role in config/rbac, without what no enabled feature needs. Context: root, rules, and scope: all,
cluster (what no Role can give) or namespace (what a Role can give).
*/ -}}
{{- define "bartizan.rules" -}}
{{- $clusterResources := include "bartizan.clusterResources" . | fromYamlArray -}}
{{- $kept := list -}}
{{- range $rule := .rules -}}
{{- $group := first $rule.apiGroups -}}
{{- $resources := list -}}
{{- range $resource := $rule.resources -}}
{{- $ofCluster := has (printf "%s/%s" $group $resource) $clusterResources -}}
{{- /* An operator of some namespaces does not write the statuses of what is of all. */ -}}
{{- $unused := and (eq $.scope "cluster") (hasSuffix "/status" $resource) -}}
{{- if and (not $unused) (or (eq $.scope "all") (eq $ofCluster (eq $.scope "cluster"))) -}}
{{- $resources = append $resources $resource -}}
{{- end -}}
{{- end -}}
{{- $verbs := $rule.verbs -}}
{{- if and (eq $group "rbac.authorization.k8s.io") (not $.root.Values.grantableRules) -}}
{{- /* Roles of before are still found and deleted. */ -}}
{{- $verbs = without $verbs "create" "patch" "update" -}}
{{- end -}}
{{- $off := and (eq $group "external-secrets.io") (not $.root.Values.externalSecrets.enabled) -}}
{{- if and (eq $group "monitoring.coreos.com") (or (eq $.root.Values.alerts.mode "Disabled") (not $.root.Values.metrics.enabled)) -}}
{{- $off = true -}}
{{- end -}}
{{- if and $resources $verbs (not $off) -}}
{{- $kept = append $kept (dict "apiGroups" $rule.apiGroups "resources" $resources "verbs" $verbs) -}}
{{- end -}}
{{- end -}}
{{- toYaml $kept -}}
{{- end -}}

{{- /* A role and its binding to the operator. Context: root, kind (Role or ClusterRole), namespace (of a Role), name, rules (YAML). */ -}}
{{- define "bartizan.boundRole" }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}
metadata:
  name: {{ include "bartizan.fullname" .root }}-{{ .name }}-role
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "bartizan.labels" .root | nindent 4 }}
rules:
{{ .rules }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}Binding
metadata:
  name: {{ include "bartizan.fullname" .root }}-{{ .name }}-rolebinding
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "bartizan.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ include "bartizan.fullname" .root }}-{{ .name }}-role
subjects:
{{ include "bartizan.subjects" .root }}
{{- end -}}
