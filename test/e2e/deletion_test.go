package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// inventory names every object of the namespaces, of every kind that the cluster knows.
func (c *cluster) inventory(ctx context.Context, namespaces ...string) ([]string, error) {
	d, err := discovery.NewDiscoveryClientForConfig(c.config)
	if err != nil {
		return nil, err
	}
	objects, err := dynamic.NewForConfig(c.config)
	if err != nil {
		return nil, err
	}
	groups, err := restmapper.GetAPIGroupResources(d)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, group := range groups {
		for _, version := range group.Group.Versions {
			if version.Version != group.Group.PreferredVersion.Version {
				continue
			}
			for _, kind := range group.VersionedResources[version.Version] {
				// Events are a log.
				if !kind.Namespaced || kind.Name == "events" || !slices.Contains(kind.Verbs, "list") || strings.Contains(kind.Name, "/") {
					continue
				}
				for _, namespace := range namespaces {
					gvr := schema.GroupVersionResource{Group: group.Group.Name, Version: version.Version, Resource: kind.Name}
					list, err := objects.Resource(gvr).Namespace(namespace).List(ctx, metav1.ListOptions{})
					if err != nil {
						return nil, fmt.Errorf("listing %s: %w", kind.Name, err)
					}
					for _, item := range list.Items {
						found = append(found, fmt.Sprintf("%s %s/%s", kind.Name, namespace, item.GetName()))
					}
				}
			}
		}
	}
	slices.Sort(found)
	return found, nil
}

// TestE2EDeletion: deleting an MCPServer, its client and its policy leaves the namespaces as they were before.
func TestE2EDeletion(t *testing.T) {
	t.Parallel()
	c := start(t)
	tools, callers := c.namespace(t, "tools"), c.namespace(t, "callers")
	c.store(t, tools, map[string]string{"token": "x"})
	// A new namespace gets its default ServiceAccount and the cluster's authorities a moment later.
	eventually(t, "the namespaces are complete", 30*time.Second, func(ctx context.Context) error {
		now, err := c.inventory(ctx, tools, callers)
		if err == nil && len(now) < 6 {
			err = fmt.Errorf("only %v", now)
		}
		return err
	})
	before, err := c.inventory(t.Context(), tools, callers)
	must(t, err)

	server := c.server(tools, "talker")
	server.Spec.Secrets = []v1alpha1.SecretGroup{{
		Name: "upstream", StoreRef: v1alpha1.SecretStoreRef{Kind: v1alpha1.SecretStoreNamespaced, Name: "store"}, RefreshInterval: "1h",
		Data: []v1alpha1.SecretData{{RemoteRef: v1alpha1.RemoteRef{Key: "values", Property: "token"}, File: "token"}},
	}}
	friend := mcpClient(callers, "friend", server)
	policy := accessPolicy(server, friend, "*")
	c.create(t, server, friend, policy)
	c.ready(t, server)
	c.ready(t, friend)
	during, err := c.inventory(t.Context(), tools, callers)
	must(t, err)
	t.Logf("it becomes:\n  %s", strings.Join(without(during, before), "\n  "))

	for _, object := range []client.Object{policy, friend, server} {
		must(t, c.Delete(t.Context(), object))
	}
	took := eventually(t, "nothing is left", 2*time.Minute, func(ctx context.Context) error {
		after, err := c.inventory(ctx, tools, callers)
		if err == nil && !slices.Equal(before, after) {
			err = fmt.Errorf("left over: %v; missing: %v", without(after, before), without(before, after))
		}
		return err
	})
	t.Logf("nothing was left after %s", took)
}

// without are the elements of all that are not in some.
func without(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(some, s) })
}
