package api_test

func init() {
	const (
		duration = `certificate.duration must be between 1h and 2160h, in h, m and s`
		renew    = `certificate.renewBefore must be at least 5m, in h, m and s`
	)
	add := func(name, patch string, want ...string) {
		rules = append(rules, struct {
			name, base, patch string
			want              []string
		}{name, "client", patch, want})
	}
	add("client without a key", `spec: {apiKey: {mode: Disabled}}`)
	add("client without a certificate", `spec: {certificate: {mode: Disabled}}`)
	add("client without any credential", `spec: {apiKey: {mode: Disabled}, certificate: {mode: Disabled}}`,
		`spec: Invalid value: apiKey and certificate cannot both be Disabled: the client could never authenticate`)
	const either = `set source with type Source, and push with type Push, and not the other`
	store := func(fields string) string {
		return `spec: {apiKey: {stores: [{namespace: default, storeRef: {name: vault}, ` + fields + `}]}}`
	}
	add("key that is pushed", store(`type: Push, push: {remoteKey: k}`))
	add("key from a store", store(`type: Source, source: {remoteRef: {key: k}}`))
	add("store of both types", store(`type: Push, push: {remoteKey: k}, source: {remoteRef: {key: k}}`), `spec.apiKey.stores[0]: Invalid value: `+either)
	add("store of the other type", store(`type: Source, push: {remoteKey: k}`), `spec.apiKey.stores[0]: Invalid value: `+either)
	add("store of one namespace twice", `spec: {apiKey: {stores: [{namespace: a, type: Push, storeRef: {name: v}, push: {remoteKey: k}}, {namespace: a, type: Push, storeRef: {name: v}, push: {remoteKey: k}}]}}`,
		`spec.apiKey.stores[1]: Duplicate value: {"namespace":"a"}`)
	add("store without keys", `spec: {apiKey: {mode: Disabled, stores: [{namespace: a, type: Push, storeRef: {name: v}, push: {remoteKey: k}}]}}`,
		`spec.apiKey: Invalid value: apiKey.stores needs apiKey.mode Enabled`)
	add("source read too often", store(`type: Source, source: {remoteRef: {key: k}, refreshInterval: 4s}`),
		`spec.apiKey.stores[0].source.refreshInterval: Invalid value: "4s": apiKey.stores.source.refreshInterval must be at least 5s, in h, m and s`)
	add("client certificate of the shortest times", `spec: {certificate: {duration: 1h, renewBefore: 5m}}`)
	add("client certificate that lives too long", `spec: {certificate: {duration: 2161h}}`, `spec.certificate.duration: Invalid value: "2161h": `+duration)
	add("client certificate that lives too short", `spec: {certificate: {duration: 59m, renewBefore: 10m}}`, `spec.certificate.duration: Invalid value: "59m": `+duration)
	add("client certificate renewed too late", `spec: {certificate: {renewBefore: 4m}}`, `spec.certificate.renewBefore: Invalid value: "4m": `+renew)
	add("client certificate renewed before it is issued", `spec: {certificate: {duration: 8h, renewBefore: 8h}}`,
		`spec.certificate: Invalid value: certificate.renewBefore must be shorter than certificate.duration`)
}
