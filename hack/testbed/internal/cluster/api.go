package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// api is a small client of the API server, for what has to be made and waited for.
type api struct {
	server string
	client *http.Client
}

// newAPI reads the credentials out of a kubeconfig that makeKubeconfig wrote.
func newAPI(kubeconfig string) (*api, error) {
	raw, err := os.ReadFile(kubeconfig)
	if err != nil {
		return nil, err
	}
	var config struct {
		Clusters []struct {
			Cluster struct {
				Server string
				CA     []byte `json:"certificate-authority-data"`
			}
		}
		Users []struct {
			User struct {
				Cert []byte `json:"client-certificate-data"`
				Key  []byte `json:"client-key-data"`
			}
		}
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, fmt.Errorf("%s: %w", kubeconfig, err)
	}
	if len(config.Clusters) != 1 || len(config.Users) != 1 {
		return nil, fmt.Errorf("%s does not have one cluster and one user", kubeconfig)
	}
	pair, err := tls.X509KeyPair(config.Users[0].User.Cert, config.Users[0].User.Key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kubeconfig, err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(config.Clusters[0].Cluster.CA)
	return &api{
		server: config.Clusters[0].Cluster.Server,
		client: &http.Client{
			Timeout: patience,
			Transport: &http.Transport{
				DisableKeepAlives: true, // every question is about now, also after the server was restarted
				TLSClientConfig:   &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13},
			},
		},
	}, nil
}

// get reads a path of the API into out (where out is not nil).
func (a *api) get(ctx context.Context, path string, out any) error {
	return a.do(ctx, http.MethodGet, path, nil, out)
}

// create makes an object, given as YAML, in a collection. One that is there already stays as it is.
func (a *api) create(ctx context.Context, collection string, object []byte) error {
	if err := a.do(ctx, http.MethodPost, collection, object, nil); !errors.Is(err, errExists) {
		return err
	}
	return nil
}

var errExists = errors.New("it exists already")

func (a *api) do(ctx context.Context, method, path string, body []byte, out any) error {
	request, err := http.NewRequestWithContext(ctx, method, a.server+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json")
	request.Header.Set("Content-Type", "application/yaml")
	response, err := a.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if method == http.MethodPost && response.StatusCode == http.StatusConflict {
		return fmt.Errorf("%s: %w", path, errExists)
	}
	if response.StatusCode/100 != 2 {
		first, _, _ := strings.Cut(strings.TrimSpace(string(answer)), "\n")
		return fmt.Errorf("%s: %s: %.200s", path, response.Status, first)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// served returns the resources that the API server serves in groups, each as RESOURCE.GROUP.
func (a *api) served(ctx context.Context) (map[string]bool, error) {
	var discovery struct {
		Items []struct {
			Metadata struct{ Name string }
			Versions []struct {
				Resources []struct{ Resource string }
			}
		}
	}
	if err := a.get(ctx, "/apis", &discovery); err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, group := range discovery.Items {
		for _, version := range group.Versions {
			for _, resource := range version.Resources {
				found[resource.Resource+"."+group.Metadata.Name] = true
			}
		}
	}
	return found, nil
}

// ready is nil once the API server says that it is, and has made the first namespaces, which it does not wait for.
func (a *api) ready(ctx context.Context) error {
	if err := a.get(ctx, "/readyz", nil); err != nil {
		return err
	}
	return a.get(ctx, "/api/v1/namespaces/default", nil)
}

// conditions are those of any object that has them.
type conditions struct {
	Status struct {
		Conditions []struct{ Type, Status, Message string }
	}
}

// condition is nil once the object at path has the condition as "True".
func (a *api) condition(ctx context.Context, path, kind string) error {
	var object conditions
	if err := a.get(ctx, path, &object); err != nil {
		return err
	}
	if err := object.is(kind); err != nil {
		return fmt.Errorf("%s is %w", path, err)
	}
	return nil
}

func (c conditions) is(kind string) error {
	for _, condition := range c.Status.Conditions {
		if condition.Type == kind {
			if condition.Status == "True" {
				return nil
			}
			return fmt.Errorf("not %s: %s", kind, condition.Message)
		}
	}
	return fmt.Errorf("not yet %s", kind)
}
