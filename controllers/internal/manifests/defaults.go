package manifests

import (
	"cmp"
	"slices"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/inventory"
)

// The defaults of the API's fields, for objects that never saw the API server. Where a default decides who gets in, it is
// the strict one.

func transportPath(s *v1alpha1.MCPServer) string { return cmp.Or(s.Spec.Transport.Path, "/mcp") }

func sessions(s *v1alpha1.MCPServer) v1alpha1.SessionMode {
	return cmp.Or(s.Spec.Transport.Sessions, v1alpha1.SessionsStateful)
}

func minRevision(s *v1alpha1.MCPServer) gateconfig.Revision {
	return cmp.Or(gateconfig.Revision(s.Spec.Transport.MinRevision), gateconfig.Revision20250618)
}

// Authentication is how a server authenticates its clients, with the defaults.
func Authentication(s *v1alpha1.MCPServer) gateconfig.Authentication {
	var spec v1alpha1.Authentication
	if s.Spec.Authentication != nil {
		spec = *s.Spec.Authentication
	}
	return gateconfig.Authentication{
		APIKeys:            cmp.Or(gateconfig.Mode(spec.APIKeys.Mode), gateconfig.Enabled),
		ClientCertificates: cmp.Or(gateconfig.Mode(spec.ClientCertificates.Mode), gateconfig.Required),
	}
}

func requestBytes(s *v1alpha1.MCPServer) string {
	if s.Spec.Limits == nil {
		return "4Mi"
	}
	return cmp.Or(s.Spec.Limits.RequestBytes, "4Mi")
}

func depth(s *v1alpha1.MCPServer) int {
	if s.Spec.Limits == nil {
		return 64
	}
	return int(cmp.Or(s.Spec.Limits.Depth, 64))
}

// audit is nothing where the spec asks for nothing.
func audit(s *v1alpha1.MCPServer) gateconfig.Audit {
	spec := s.Spec.Audit
	if spec == nil || spec.Arguments == v1alpha1.AuditArgumentsNone {
		return gateconfig.Audit{}
	}
	redact := slices.Clone(spec.Redact)
	slices.Sort(redact)
	return gateconfig.Audit{Arguments: gateconfig.Arguments(spec.Arguments), Redact: redact}
}

// tracing is nothing where the spec asks for nothing.
func tracing(s *v1alpha1.MCPServer) gateconfig.Tracing {
	if s.Spec.Tracing == nil || s.Spec.Tracing.Mode != v1alpha1.TracingSampled {
		return gateconfig.Tracing{}
	}
	return gateconfig.Tracing{Mode: gateconfig.TracingSampled}
}

// Forbidden are the tools that nobody may call.
func Forbidden(s *v1alpha1.MCPServer) []string {
	if s.Spec.Tools == nil {
		return nil
	}
	forbidden := slices.Clone(s.Spec.Tools.Forbidden)
	slices.Sort(forbidden)
	return forbidden
}

// Tools are the definitions that are approved. Pins are nobody's concern while they are not looked at.
func Tools(s *v1alpha1.MCPServer) gateconfig.Tools {
	if s.Spec.Tools == nil || s.Spec.Tools.Pinning == "" || s.Spec.Tools.Pinning == v1alpha1.PinningOff {
		return gateconfig.Tools{}
	}
	tools := gateconfig.Tools{Pinning: gateconfig.Pinning(s.Spec.Tools.Pinning)}
	for _, p := range s.Spec.Tools.Pins {
		kind := cmp.Or(p.Kind, v1alpha1.DefinitionTool)
		tools.Pins = append(tools.Pins, inventory.Pin{Kind: inventory.Kind(kind), Name: p.Name, SHA256: p.SHA256})
	}
	slices.SortFunc(tools.Pins, inventory.Pin.Compare)
	return tools
}

func answerWithin(s *v1alpha1.MCPServer) string {
	if s.Spec.Limits == nil {
		return "1h"
	}
	return cmp.Or(s.Spec.Limits.AnswerWithin, "1h")
}

func perClient(s *v1alpha1.MCPServer) gateconfig.ClientRate {
	if s.Spec.Limits == nil {
		return gateconfig.ClientRate{}
	}
	return clientRate(s.Spec.Limits.PerClient)
}

func perTool(s *v1alpha1.MCPServer) gateconfig.ClientRate {
	if s.Spec.Limits == nil {
		return gateconfig.ClientRate{}
	}
	return clientRate(s.Spec.Limits.PerTool)
}

// clientRate is no bound where the spec has none.
func clientRate(spec *v1alpha1.ClientRate) gateconfig.ClientRate {
	if spec == nil {
		return gateconfig.ClientRate{}
	}
	return gateconfig.ClientRate{RPS: int(spec.RPS), Burst: int(cmp.Or(spec.Burst, spec.RPS))}
}

// tlsSpec is the spec's part about the serving certificate, with its defaults.
func tlsSpec(s *v1alpha1.MCPServer) v1alpha1.TLS {
	var spec v1alpha1.TLS
	if s.Spec.TLS != nil {
		spec = *s.Spec.TLS
	}
	spec.Duration = cmp.Or(spec.Duration, "24h")
	spec.RenewBefore = cmp.Or(spec.RenewBefore, "8h")
	return spec
}

func issuerRef(ref v1alpha1.IssuerRef) v1alpha1.IssuerRef {
	ref.Group = cmp.Or(ref.Group, "cert-manager.io")
	ref.Kind = cmp.Or(ref.Kind, "Issuer")
	return ref
}
