package manifests

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/internal/authproxy/decision"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// Sealed is a gate's configuration as the gate's Secret holds it.
type Sealed struct {
	Document   []byte
	Generation string
}

// GateConfig is the configuration of a server's gates: what the spec says, and who may use the server. status says who may
// read the status ports; keys are those of the token issuers, by their names.
func GateConfig(server *v1alpha1.MCPServer, clusterDomain string, who access.Result, status gateconfig.Status, keys map[string]IssuerKeys) (gateconfig.Config, error) {
	bytes, err := resource.ParseQuantity(requestBytes(server))
	if err != nil {
		return gateconfig.Config{}, fmt.Errorf("MCPServer %s/%s: spec.limits.requestBytes is not a quantity; write one such as 4Mi", server.Namespace, server.Name)
	}
	within, err := time.ParseDuration(answerWithin(server))
	if err != nil {
		return gateconfig.Config{}, fmt.Errorf("MCPServer %s/%s: spec.limits.answerWithin is not a duration; write one such as 5m", server.Namespace, server.Name)
	}
	rules := who.Policy
	rules.Forbidden = Forbidden(server)
	authentication := Authentication(server)
	authentication.Tokens = tokenIssuers(server, keys)
	return gateconfig.Config{
		Server: gateconfig.Object{Namespace: server.Namespace, Name: server.Name},
		Endpoint: gateconfig.Endpoint{
			URL:     URL(server),
			Path:    endpointPath(server),
			Hosts:   endpointHosts(server, clusterDomain),
			Origins: origins(server),
		},
		Upstream: upstreamOf(server),
		Limits: gateconfig.Limits{RequestBytes: bytes.Value(), Depth: depth(server), PerClient: perClient(server), PerTool: perTool(server),
			AnswerWithinSeconds: int64(within / time.Second)},
		Authentication: authentication,
		Authorities:    who.Authorities,
		Status:         status,
		Clients:        who.Clients,
		Audit:          audit(server),
		Tracing:        tracing(server),
		Tools:          Tools(server),
		Policy:         rules,
	}, nil
}

// ForOlderGates is a configuration without what gates of an earlier release do not know: they would refuse all of it, and whatever
// is revoked in it.
func ForOlderGates(c gateconfig.Config) gateconfig.Config {
	c.Limits.PerTool, c.Limits.AnswerWithinSeconds = gateconfig.ClientRate{}, 0
	return c
}

func upstreamOf(server *v1alpha1.MCPServer) gateconfig.Upstream {
	u := gateconfig.Upstream{
		Port:        server.Spec.Transport.Port,
		Path:        transportPath(server),
		Sessions:    gateconfig.Sessions(sessions(server)),
		MinRevision: minRevision(server),
	}
	if stdio(server) {
		u.Port, u.Socket = 0, gateconfig.StdioSocket
	}
	return u
}

// Seal makes the document of a configuration, and refuses one that a gate would not obey: a gate that is given such a
// document goes on with the one that it has, and a revocation would never be in force.
func Seal(c gateconfig.Config) (Sealed, error) {
	document, generation, err := gateconfig.Seal(c)
	if err != nil {
		return Sealed{}, err
	}
	_, parseErr := gateconfig.Parse(document)
	_, compileErr := decision.Compile(c.Policy)
	if err := errors.Join(parseErr, compileErr); err != nil {
		return Sealed{}, fmt.Errorf("MCPServer %s/%s: its gates would refuse their configuration: %w", c.Server.Namespace, c.Server.Name, err)
	}
	return Sealed{Document: document, Generation: generation}, nil
}

// URL is what clients are told to call.
func URL(server *v1alpha1.MCPServer) string {
	if u := endpointURL(server); u != nil {
		u.Path = endpointPath(server)
		return u.String()
	}
	return "https://" + ServerName(server) + transportPath(server)
}

// ServerName is the name by which the operator verifies the serving certificate.
func ServerName(server *v1alpha1.MCPServer) string {
	return server.Name + "." + server.Namespace + ".svc"
}

// serviceNames are the DNS names of the server's Service.
func serviceNames(server *v1alpha1.MCPServer, clusterDomain string) []string {
	if clusterDomain == "" {
		clusterDomain = "cluster.local"
	}
	return []string{
		ServerName(server),
		ServerName(server) + "." + clusterDomain,
		server.Name + "." + server.Namespace,
		server.Name,
	}
}

// endpointHosts are the accepted Host headers, without the default port, which clients leave out.
func endpointHosts(server *v1alpha1.MCPServer, clusterDomain string) []string {
	hosts := serviceNames(server, clusterDomain)
	if u := endpointURL(server); u != nil {
		hosts = append(hosts, strings.TrimSuffix(strings.ToLower(u.Host), ":443"))
	}
	if e := server.Spec.Endpoint; e != nil {
		hosts = append(hosts, e.Hosts...)
	}
	return distinct(hosts)
}

// endpointURL is the URL of the spec, nil without one.
func endpointURL(server *v1alpha1.MCPServer) *url.URL {
	if server.Spec.Endpoint == nil || server.Spec.Endpoint.URL == "" {
		return nil
	}
	u, err := url.Parse(server.Spec.Endpoint.URL)
	if err != nil {
		return nil
	}
	return u
}

// endpointPath is the path that clients call: that of the URL where it has one.
func endpointPath(server *v1alpha1.MCPServer) string {
	if u := endpointURL(server); u != nil && u.Path != "" && u.Path != "/" {
		return u.Path
	}
	return transportPath(server)
}

func origins(server *v1alpha1.MCPServer) []string {
	if server.Spec.Endpoint == nil {
		return nil
	}
	return server.Spec.Endpoint.Origins
}

// distinct keeps the first of equal strings, and the order.
func distinct(all []string) []string {
	var kept []string
	for _, s := range all {
		if !slices.Contains(kept, s) {
			kept = append(kept, s)
		}
	}
	return kept
}
