package authority

import (
	"strconv"
	"strings"
)

// The names of an authority's objects.
const (
	// SelfSigned is the Issuer that authorities begin with.
	SelfSigned = "bartizan-selfsigned"
	// OperatorCertificate is the operator's certificate towards gates, and its Secret.
	OperatorCertificate = "bartizan-operator"
	// MonitoringCertificate is the certificate with which monitoring reads the gates' metrics, and its Secret.
	MonitoringCertificate = "bartizan-monitoring"
)

// family is a line of authorities that follow one another: its name is the prefix of theirs, which a number ends.
type family string

const (
	// private vouches for the clients of a namespace, and for its servers that bring no issuer of their own.
	private family = "bartizan-ca-"
	// system vouches for the operator towards gates.
	system family = "bartizan-system-ca-"
)

// name is that of the Certificate, the Secret and the Issuer of a generation.
func (f family) name(generation int) string { return string(f) + strconv.Itoa(generation) }

// generation is the number in a name; 0 for any other name.
func (f family) generation(name string) int {
	text, found := strings.CutPrefix(name, string(f))
	n, err := strconv.Atoi(text)
	if !found || err != nil || n < 1 || strconv.Itoa(n) != text {
		return 0
	}
	return n
}

// IsPrivate says whether a name is that of a private authority's objects.
func IsPrivate(name string) bool { return private.generation(name) > 0 }

// IsSystem says whether a name is that of objects of an authority of the operator's.
func IsSystem(name string) bool { return system.generation(name) > 0 }
