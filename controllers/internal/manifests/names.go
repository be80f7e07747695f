package manifests

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// CABundleKey is the key of the bundle in the ConfigMap that CABundleName names.
const CABundleKey = "ca.crt"

// CertificateName is the name of a server's Certificate and of the Secret that holds it.
func CertificateName(server string) string { return server + "-tls" }

// CABundleName is the name of the ConfigMap with the bundle that vouches for a server's certificate.
func CABundleName(server string) string { return server + "-ca" }

// GateSecretName is the name of the Secret with the configuration of a server's gates.
func GateSecretName(server string) string { return server + "-gate" }

// ExternalSecretName is the name of the ExternalSecret of a secret group and of the Secret that it makes.
func ExternalSecretName(server, group string) string { return server + "-" + group }

// operatorPrefix begins the names of what the operator itself has in a namespace, above all the Secrets of the private
// authorities. No server and no volume of a user may have such a name.
const operatorPrefix = "bartizan"

// maxName bounds a server's name, in characters: it is the name of a Service, a label's value and a part of DNS names.
const maxName = 63

// secretVolume is the name of the volume of a secret group: group, or its beginning and its hash where that is too long.
func secretVolume(group string) string {
	const prefix, limit = operatorPrefix + "-secret-", 63
	if len(prefix)+len(group) <= limit {
		return prefix + group
	}
	sum := sha256.Sum256([]byte(group))
	hash := "-" + hex.EncodeToString(sum[:4])
	return prefix + strings.TrimRight(group[:limit-len(prefix)-len(hash)], "-") + hash
}
