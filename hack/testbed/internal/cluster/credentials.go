package cluster

import (
	"os"
	"path/filepath"
	"time"

	"github.com/bartizan-dev/bartizan/hack/testbed/internal/pki"
)

// credentials are written below pki/ in the run folder; the kubeconfigs beside them.
type credentials struct {
	ca, frontProxy *pki.CA
}

// write puts a file below the run folder, for its owner only.
func (c *Cluster) write(name string, content []byte) error {
	path := c.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
}

func (c *Cluster) writePair(name string, pair pki.Pair, err error) error {
	if err != nil {
		return err
	}
	if err := c.write("pki/"+name+".crt", pair.Cert); err != nil {
		return err
	}
	return c.write("pki/"+name+".key", pair.Key)
}

// makeCredentials makes the authorities, the API server's certificate for these hosts, and the key of the ServiceAccount tokens.
func (c *Cluster) makeCredentials(hosts []string) (credentials, error) {
	now := time.Now()
	ca, err := pki.NewCA("testbed", now)
	if err != nil {
		return credentials{}, err
	}
	front, err := pki.NewCA("testbed-front-proxy", now)
	if err != nil {
		return credentials{}, err
	}
	if err := c.writePair("ca", ca.Pair, nil); err != nil {
		return credentials{}, err
	}
	if err := c.writePair("front-proxy-ca", front.Pair, nil); err != nil {
		return credentials{}, err
	}
	server, err := ca.Server("kube-apiserver", hosts, now)
	if err := c.writePair("apiserver", server, err); err != nil {
		return credentials{}, err
	}
	proxy, err := front.Client("front-proxy-client", nil, now)
	if err := c.writePair("front-proxy-client", proxy, err); err != nil {
		return credentials{}, err
	}
	private, public, err := pki.TokenKey()
	if err != nil {
		return credentials{}, err
	}
	if err := c.write("pki/sa.key", private); err != nil {
		return credentials{}, err
	}
	return credentials{ca: ca, frontProxy: front}, c.write("pki/sa.pub", public)
}

// makeKubeconfig writes a kubeconfig for a user with a client certificate.
func (c *Cluster) makeKubeconfig(creds credentials, file, server, user string, groups ...string) error {
	client, err := creds.ca.Client(user, groups, time.Now())
	if err != nil {
		return err
	}
	raw, err := pki.Kubeconfig(server, creds.ca.Cert, client)
	if err != nil {
		return err
	}
	return c.write(file, raw)
}
