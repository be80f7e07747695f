package mcpclient_test

import (
	"testing"

	pushsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1alpha1"

	"github.com/bartizan-dev/bartizan/controllers/mcpclient"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// TestIntegrationExternalSecretsComeLate: without external-secrets the client has a key that works and a condition; with it, by
// watches alone, the store gets the key.
func TestIntegrationExternalSecretsComeLate(t *testing.T) {
	w := newWorld(t, controlplane.Start(t, controlplane.Without(controlplane.ExternalSecrets)))
	manage(t, w.config, w)
	tools := controlplane.Namespace(t, w.config, "tools")
	w.server(tools, "github", authorityPEM(t, "one"))
	w.grant(tools)
	w.agent(tools + "/github")
	w.spec(pushing(tools))
	w.eventually("missing", func() bool { return w.condition("RotationSucceeded") == "False ExternalSecretsMissing" })
	if key := w.key(tools); len(key) == 0 || !w.accepts(tools, "github", key) {
		t.Error("the key waits for external-secrets")
	}
	controlplane.Install(t, w.config, controlplane.ExternalSecrets)
	w.eventually("a PushSecret", func() bool { return w.get(w.apps, mcpclient.SecretName("agent", tools), &pushsecrets.PushSecret{}) })
	v := &vault{world: w, values: map[string]string{}}
	v.sync()
	w.eventually("pushed", func() bool {
		return w.condition("RotationSucceeded") == "True UpToDate" && v.values[remote] == string(w.key(tools))
	})
}
