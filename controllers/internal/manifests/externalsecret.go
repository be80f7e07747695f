package manifests

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// externalSecrets are one ExternalSecret a secret group, each with a Secret of the same name.
func externalSecrets(p Params) []*ExternalSecretApplyConfiguration {
	var all []*ExternalSecretApplyConfiguration
	for i := range p.Server.Spec.Secrets {
		all = append(all, externalSecret(p, &p.Server.Spec.Secrets[i]))
	}
	return all
}

func externalSecret(p Params, group *v1alpha1.SecretGroup) *ExternalSecretApplyConfiguration {
	name := ExternalSecretName(p.Server.Name, group.Name)
	es := ExternalSecret(name, p.Server.Namespace)
	es.Labels = Labels(p.Server.Name)
	es.OwnerReferences = []metav1.OwnerReferenceApplyConfiguration{*owner(p)}
	es.Spec = &ExternalSecretSpec{
		RefreshInterval: refreshInterval(group),
		SecretStoreRef: ExternalSecretStoreRef{
			Kind: string(cmp.Or(group.StoreRef.Kind, v1alpha1.SecretStoreNamespaced)),
			Name: group.StoreRef.Name,
		},
		Target: ExternalSecretTarget{
			Name:           name,
			CreationPolicy: "Owner",
			Template: ExternalSecretTemplate{
				Type:     string(core.SecretTypeOpaque),
				Metadata: ExternalSecretTemplateMetadata{Labels: Labels(p.Server.Name)},
			},
		},
	}
	for _, data := range group.Data {
		es.Spec.Data = append(es.Spec.Data, ExternalSecretData{
			SecretKey: secretKey(data),
			RemoteRef: ExternalSecretRemoteRef(data.RemoteRef),
		})
	}
	return es
}

// secretKey is the key of a value in its group's Secret. Validate refuses two of the same.
func secretKey(data v1alpha1.SecretData) string { return cmp.Or(data.File, data.Env) }

// SecretHash changes when a value that the group gives to the server as an environment variable changes, so that the pods
// are replaced then and only then; it is "" for a group without such values. The hash is on show in the pods' annotations:
// it is keyed with the Secret's UID, which only those know who may read the Secret, so that nobody can guess values by it.
func SecretHash(group *v1alpha1.SecretGroup, secret *core.Secret) string {
	var names []string
	for _, data := range group.Data {
		if data.Env != "" {
			names = append(names, data.Env)
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	mac := hmac.New(sha256.New, []byte(secret.UID))
	for _, name := range names {
		for _, part := range [][]byte{[]byte(name), secret.Data[name]} {
			mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
			mac.Write(part)
		}
	}
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// refreshInterval is spelled as external-secrets spells it when it writes the object back: another spelling of the same
// time would have both write for ever.
func refreshInterval(group *v1alpha1.SecretGroup) string {
	interval, err := time.ParseDuration(cmp.Or(group.RefreshInterval, "1h"))
	if err != nil {
		return group.RefreshInterval // Validate has refused it
	}
	return interval.String()
}
