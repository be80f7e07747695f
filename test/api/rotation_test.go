package api_test

func init() {
	const (
		either   = `set interval with type Interval, and cron with type Cron, and not the other`
		overlap  = `rotation.overlap must be between 1m and 2160h, in h, m and s`
		age      = `rotation.maximumAge must be between 10m and 8760h, in h, m and s`
		interval = `rotation.schedule.interval must be between 1m and 8760h, in h, m and s`
		twice    = `rotation.maximumAge must be at least twice rotation.overlap: a key has to be replaced an overlap before its end`
		longer   = `rotation.schedule.interval must not be shorter than rotation.overlap: set both`
		pattern  = `^[0-9A-Za-z*?/,-]+( [0-9A-Za-z*?/,-]+){4}$`
	)
	cron := func(value string) string {
		return `spec.rotation.schedule.cron.expression: Invalid value: "` + value + `": spec.rotation.schedule.cron.expression in body should match '` + pattern + `'`
	}
	add := func(name, patch string, want ...string) {
		rules = append(rules, struct {
			name, base, patch string
			want              []string
		}{name, "client", patch, want})
	}
	add("rotation with nothing in it", `spec: {rotation: {}}`)
	add("rotation of the shortest times", `spec: {rotation: {schedule: {type: Interval, interval: 1m}, overlap: 1m, maximumAge: 10m}}`)
	add("rotation of the longest times", `spec: {rotation: {schedule: {type: Interval, interval: 8760h}, overlap: 2160h, maximumAge: 8760h}}`)
	add("cron with names and lists", `spec: {rotation: {schedule: {type: Cron, cron: {expression: '*/5 1-3,7 ? JAN-MAR SUN'}}}}`)
	add("interval with a cron expression", `spec: {rotation: {schedule: {type: Interval, interval: 48h, cron: {expression: '0 3 * * 1'}}}}`,
		`spec.rotation.schedule: Invalid value: `+either)
	add("interval without one", `spec: {rotation: {schedule: {type: Interval}}}`, `spec.rotation.schedule: Invalid value: `+either)
	add("cron without an expression", `spec: {rotation: {schedule: {type: Cron}}}`, `spec.rotation.schedule: Invalid value: `+either)
	add("cron with an interval", `spec: {rotation: {schedule: {type: Cron, interval: 48h}}}`, `spec.rotation.schedule: Invalid value: `+either)
	add("cron of six fields", `spec: {rotation: {schedule: {type: Cron, cron: {expression: '0 0 3 * * 1'}}}}`, cron(`0 0 3 * * 1`))
	add("cron by a word", `spec: {rotation: {schedule: {type: Cron, cron: {expression: '@daily'}}}}`, cron(`@daily`))
	add("cron with a time zone in it", `spec: {rotation: {schedule: {type: Cron, cron: {expression: 'TZ=UTC 0 3 * * 1'}}}}`, cron(`TZ=UTC 0 3 * * 1`))
	add("time zone that is a path", `spec: {rotation: {schedule: {type: Cron, cron: {expression: '0 3 * * 1', timeZone: ../../etc/passwd}}}}`,
		`spec.rotation.schedule.cron.timeZone: Invalid value: "../../etc/passwd": spec.rotation.schedule.cron.timeZone in body should match '^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$'`)
	add("overlap too short", `spec: {rotation: {overlap: 59s}}`, `spec.rotation.overlap: Invalid value: "59s": `+overlap)
	add("overlap too long", `spec: {rotation: {overlap: 2161h, maximumAge: 8760h}}`, `spec.rotation.overlap: Invalid value: "2161h": `+overlap)
	add("overlap in days", `spec: {rotation: {overlap: 1d}}`, `spec.rotation.overlap: Invalid value: "1d": `+overlap)
	add("maximum age too short", `spec: {rotation: {overlap: 1m, maximumAge: 9m}}`, `spec.rotation.maximumAge: Invalid value: "9m": `+age)
	add("maximum age too long", `spec: {rotation: {maximumAge: 8761h}}`, `spec.rotation.maximumAge: Invalid value: "8761h": `+age)
	add("maximum age shorter than two overlaps", `spec: {rotation: {overlap: 25h, maximumAge: 49h}}`, `spec.rotation: Invalid value: `+twice)
	add("maximum age shorter than two of the default overlap", `spec: {rotation: {maximumAge: 24h}}`, `spec.rotation: Invalid value: `+twice)
	add("interval too short", `spec: {rotation: {overlap: 1m, schedule: {type: Interval, interval: 59s}}}`,
		`spec.rotation.schedule.interval: Invalid value: "59s": `+interval, `spec.rotation: Invalid value: `+longer)
	add("interval too long", `spec: {rotation: {schedule: {type: Interval, interval: 8761h}}}`, `spec.rotation.schedule.interval: Invalid value: "8761h": `+interval)
	add("interval shorter than the default overlap", `spec: {rotation: {schedule: {type: Interval, interval: 1h}}}`, `spec.rotation: Invalid value: `+longer)
	add("revoked key that is no id", `spec: {revokedKeys: [mcpk_aaaabbbbccc]}`,
		`spec.revokedKeys[0]: Invalid value: "mcpk_aaaabbbbccc": spec.revokedKeys[0] in body should match '^[a-z2-7]{16}$'`)
	add("revoked key twice", `spec: {revokedKeys: [aaaabbbbccccdddd, aaaabbbbccccdddd]}`, `spec.revokedKeys[1]: Duplicate value: "aaaabbbbccccdddd"`)
}
