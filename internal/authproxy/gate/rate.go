package gate

import (
	"encoding/hex"
	"hash/maphash"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/identity"
	"github.com/bartizan-dev/bartizan/internal/authproxy/limit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// ruleUse is one principal's use of one rule.
type ruleUse struct{ rule, principal string }

// meteredUse is a use that was counted, and by which rate.
type meteredUse struct {
	ruleUse
	rate limit.Rate
}

// Take makes an exchange the decision's meter.
func (x *exchange) Take(rule string, rate limit.Rate) time.Duration {
	use := ruleUse{rule, x.principal.Name()}
	wait := x.gate.rules.Take(use, rate, time.Now())
	if wait == 0 {
		x.metered = meteredUse{use, rate}
	}
	return wait
}

// withinRate says whether the client may ask once more now, and answers when it may not.
func (x *exchange) withinRate() bool {
	per := x.config.Limits.PerClient
	if per.RPS == 0 {
		return true
	}
	wait := x.gate.clients.Take(x.principal.Name(), limit.Rate{Burst: per.Burst, Requests: per.RPS, Per: time.Second}, time.Now())
	if wait == 0 {
		return true
	}
	x.gate.metrics.Throttled("client")
	x.retryAfter(wait)
	x.refuse(audit.Refused, errRate)
	return false
}

// toolUse is one principal's use of one tool. Only its hash is kept: with patterns, a tool's name is whatever a caller calls it.
type toolUse struct{ principal, tool string }

// withinToolRate says whether the client may call the tool once more now, and answers when it may not: then the call does not count
// for its rule. Only calls that a rule allows come here, so that what is not allowed neither counts nor takes memory.
func (x *exchange) withinToolRate() bool {
	per := x.config.Limits.PerTool
	if per.RPS == 0 || x.message == nil || x.message.Method != "tools/call" {
		return true
	}
	now := time.Now()
	use := maphash.Comparable(x.gate.seed, toolUse{x.principal.Name(), x.message.Targets[0].Name})
	wait := x.gate.tools.Take(use, limit.Rate{Burst: per.Burst, Requests: per.RPS, Per: time.Second}, now)
	if wait == 0 {
		return true
	}
	if x.metered.rule != "" {
		x.gate.rules.Give(x.metered.ruleUse, x.metered.rate)
	}
	x.gate.metrics.Throttled("tool")
	x.retryAfter(wait)
	x.record.Rule = ""
	x.refuse(audit.Refused, errToolRate)
	return false
}

// failedLogin counts a credential that is not accepted, and returns the refusal for a source that shows too many: it is not
// told any more what is wrong with them. A credential that is accepted is so however many were not.
func (x *exchange) failedLogin(failure identity.Failure) *message.Error {
	switch failure {
	case identity.NoCredential, identity.CertificateRequired, identity.KeyRequired:
		// Nothing was shown that could have been guessed: it is how clients find out what to show.
		return nil
	}
	source := x.r.RemoteAddr
	if x.attack {
		if x.caller.SpanID != gateconfig.CountedSpan {
			return nil
		}
		source = sourceOf(x.record.TraceID)
	}
	wait := x.gate.failures.Add(source, time.Now())
	if wait == 0 {
		return nil
	}
	if !x.attack {
		x.gate.metrics.Throttled("failed-logins")
	}
	x.retryAfter(wait)
	return &message.Error{Status: http.StatusTooManyRequests, Code: codeRate, Reason: string(failure),
		Message: "Too many credentials were not accepted from this address. Try again later, with a current one."}
}

// sourceOf is the address that failures with a mark of the operator's count for. None is of 0000::/8 (RFC 4291, section 2.4), so that it
// is nobody's.
func sourceOf(mark string) string {
	var address [16]byte
	_, _ = hex.Decode(address[1:8], []byte(mark[:14])) // a trace id, which was parsed
	return netip.AddrPortFrom(netip.AddrFrom16(address), 0).String()
}

// mayFail says whether the source has not failed too often yet. The operator's attacks are judged whoever shares its address: a token
// that nobody looked at would pass for one that was found wrong.
func (x *exchange) mayFail() bool {
	return x.gate.failures.Over(x.r.RemoteAddr, time.Now()) == 0 || x.gate.announced.has(x.record.TraceID, x.record.Time)
}

// retryAfter tells after how many seconds to try again (RFC 9110, section 10.2.3).
func (x *exchange) retryAfter(wait time.Duration) {
	seconds := int64((wait + time.Second - 1) / time.Second)
	x.w.Header().Set("Retry-After", strconv.FormatInt(max(seconds, 1), 10))
}
