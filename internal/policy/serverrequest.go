package policy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ServerRequest is a kind of request that a server sends to its client.
type ServerRequest string

// The kinds of requests of servers.
const (
	// ElicitationForm asks the user to fill in a form.
	ElicitationForm ServerRequest = "ElicitationForm"
	// ElicitationURL asks the user to open a web page.
	ElicitationURL ServerRequest = "ElicitationURL"
	// Sampling asks for a completion by the client's language model.
	Sampling ServerRequest = "Sampling"
	// Roots asks which folders the client has open.
	Roots ServerRequest = "Roots"
)

// ServerRequests are the kinds that a rule may name.
func ServerRequests() []ServerRequest {
	return []ServerRequest{ElicitationForm, ElicitationURL, Sampling, Roots}
}

const (
	// maxHost bounds a host, in bytes (RFC 1035, section 2.3.4).
	maxHost = 253
	maxHRef = 8 << 10
)

// Hosts are patterns over the hosts of web pages. The zero Hosts has none.
type Hosts struct {
	exact map[string]bool
	// beyond are what follows the first label of hosts that are one label longer.
	beyond map[string]bool
}

// NewHosts compiles patterns: a host in lower case, with ":" and its port where that is not 443; "*." before it stands for
// exactly one label, as in certificates.
func NewHosts(patterns []string) (Hosts, error) {
	h := Hosts{exact: map[string]bool{}, beyond: map[string]bool{}}
	for _, pattern := range patterns {
		host, wild := strings.CutPrefix(pattern, "*.")
		if err := checkHost(host); err != nil {
			return Hosts{}, fmt.Errorf("%q %w", pattern, err)
		}
		if wild && !strings.Contains(strings.SplitN(host, ":", 2)[0], ".") {
			return Hosts{}, fmt.Errorf(`%q has "*" before a top-level domain, which is nobody's own`, pattern)
		}
		if wild {
			h.beyond[host] = true
		} else {
			h.exact[host] = true
		}
	}
	return h, nil
}

// Has says whether a pattern matches the host, which PageHost returned.
func (h Hosts) Has(host string) bool {
	if h.exact[host] {
		return true
	}
	_, beyond, ok := strings.Cut(host, ".")
	return ok && h.beyond[beyond]
}

// PageHost is the host of a web page's URL, in lower case, with ":" and its port where that is not 443. Only https is
// accepted, and only in a spelling that every program reads alike: browsers take "\" for "/", drop tabs and line breaks, and
// skip further slashes.
func PageHost(url string) (string, error) {
	after, ok := strings.CutPrefix(url, "https://")
	if !ok || len(url) > maxHRef {
		return "", errPage
	}
	for i := range len(url) {
		if c := url[i]; c <= ' ' || c > '~' || c == '\\' {
			return "", errPage
		}
	}
	if end := strings.IndexAny(after, "/?#"); end >= 0 {
		after = after[:end]
	}
	host := strings.TrimSuffix(strings.ToLower(after), ":443")
	if checkHost(host) != nil {
		return "", errPage
	}
	return host, nil
}

var errPage = errors.New("is not an https URL with a plain host")

// checkHost says whether a host is labels of letters, digits and hyphens, and perhaps a port. A name whose last label is a number is
// an address to browsers, which have more than one spelling for it.
func checkHost(host string) error {
	name, port, has := strings.Cut(host, ":")
	if has {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || n == 443 || strconv.Itoa(n) != port {
			return errors.New("has a port that is none, or that goes without saying: 443")
		}
	}
	if name == "" || len(name) > maxHost {
		return errors.New("is not a host")
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return errors.New("is not a host")
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && !digit(c) && c != '-' {
				return errors.New("is not a host in lower case")
			}
		}
	}
	if last := labels[len(labels)-1]; digit(last[0]) {
		return errors.New("is an address: name the host")
	}
	return nil
}

func validateServerRequests(r Rule) (errs []error) {
	for i, kind := range r.ServerRequests {
		if !slices.Contains(ServerRequests(), kind) {
			errs = append(errs, fmt.Errorf("serverRequests[%d]: %q is not one that can be allowed", i, kind))
		}
	}
	if (len(r.Hosts) > 0) != slices.Contains(r.ServerRequests, ElicitationURL) {
		errs = append(errs, errors.New("hosts, serverRequests: ElicitationURL and the hosts that a user may be sent to need each other"))
	}
	for i, host := range r.Hosts {
		if _, err := NewHosts([]string{host}); err != nil {
			errs = append(errs, fmt.Errorf("hosts[%d]: %w", i, err))
		}
	}
	if r.Expression != "" && len(r.ServerRequests) > 0 {
		errs = append(errs, errors.New("expression: it is about calls of tools, prompts and resources: put serverRequests into a rule of their own"))
	}
	return errs
}
