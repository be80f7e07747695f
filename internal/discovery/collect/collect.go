// Package collect reads from a cluster what discovery judges, page by page, with the rights of whoever asks. It reads no Secret,
// and it writes nothing.
package collect

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/discovery"
)

// page bounds how many objects are in memory at once.
const page = 250

// Options say what is read.
type Options struct {
	// Namespaces are where to look; none means everywhere.
	Namespaces []string
	// Workloads has workloads read, too, for those that have no pod just now.
	Workloads bool
	// Pod is called for each pod that runs, with what is known of its workload; nil: it is not.
	Pod func(*corev1.Pod, *discovery.Workload)
}

// Collect reads a cluster. What may not be read is named in gaps; without the right to read pods there is an error.
func Collect(ctx context.Context, reader client.Reader, o Options) (in discovery.Input, gaps []string, err error) {
	if len(o.Namespaces) == 0 {
		o.Namespaces = []string{""}
	}
	in.Servers = map[string]bool{}
	for _, namespace := range o.Namespaces {
		c := &reading{reader: reader, namespace: namespace, in: &in}
		if err := c.everything(ctx, o); err != nil {
			return discovery.Input{}, nil, err
		}
		gaps = append(gaps, c.gaps...)
	}
	return in, gaps, nil
}

// reading is about one namespace, or all.
type reading struct {
	reader    client.Reader
	namespace string
	in        *discovery.Input
	gaps      []string
}

func (c *reading) everything(ctx context.Context, o Options) error {
	if err := pages(ctx, c, &v1alpha1.MCPServerList{}, func(l *v1alpha1.MCPServerList) {
		for i := range l.Items {
			c.in.Servers[l.Items[i].Namespace+"/"+l.Items[i].Name] = true
		}
	}); err != nil && !meta.IsNoMatchError(err) && !apierrors.IsNotFound(err) {
		// Without them everything that has a gate would be taken for something without one.
		return fmt.Errorf("list mcpservers: %w", err)
	}
	if err := pages(ctx, c, &corev1.PodList{}, func(l *corev1.PodList) {
		for i := range l.Items {
			pod := &l.Items[i]
			if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
				continue
			}
			w := discovery.FromPod(pod)
			if o.Pod != nil {
				o.Pod(pod, &w)
			}
			c.in.Workloads = append(c.in.Workloads, w)
		}
	}); err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	if err := c.optional("services", pages(ctx, c, &corev1.ServiceList{}, func(l *corev1.ServiceList) {
		for i := range l.Items {
			c.in.Services = append(c.in.Services, discovery.FromService(&l.Items[i]))
		}
	})); err != nil {
		return err
	}
	if o.Workloads {
		if err := c.workloads(ctx); err != nil {
			return err
		}
	}
	return c.projects(ctx)
}

func (c *reading) workloads(ctx context.Context) error {
	add := func(kind, namespace, name string, template *corev1.PodTemplateSpec) {
		c.in.Workloads = append(c.in.Workloads, discovery.FromTemplate(kind, namespace, name, template))
	}
	for resource, read := range map[string]func() error{
		"deployments": func() error {
			return pages(ctx, c, &appsv1.DeploymentList{}, func(l *appsv1.DeploymentList) {
				for i := range l.Items {
					add("Deployment", l.Items[i].Namespace, l.Items[i].Name, &l.Items[i].Spec.Template)
				}
			})
		},
		"statefulsets": func() error {
			return pages(ctx, c, &appsv1.StatefulSetList{}, func(l *appsv1.StatefulSetList) {
				for i := range l.Items {
					add("StatefulSet", l.Items[i].Namespace, l.Items[i].Name, &l.Items[i].Spec.Template)
				}
			})
		},
		"daemonsets": func() error {
			return pages(ctx, c, &appsv1.DaemonSetList{}, func(l *appsv1.DaemonSetList) {
				for i := range l.Items {
					add("DaemonSet", l.Items[i].Namespace, l.Items[i].Name, &l.Items[i].Spec.Template)
				}
			})
		},
		"cronjobs": func() error {
			return pages(ctx, c, &batchv1.CronJobList{}, func(l *batchv1.CronJobList) {
				for i := range l.Items {
					add("CronJob", l.Items[i].Namespace, l.Items[i].Name, &l.Items[i].Spec.JobTemplate.Spec.Template)
				}
			})
		},
	} {
		if err := c.optional(resource, read()); err != nil {
			return err
		}
	}
	return nil
}

// projects reads the objects of other projects, of the newest version that the cluster serves.
func (c *reading) projects(ctx context.Context) error {
	for _, p := range discovery.Projects {
		for _, version := range p.Versions {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(schema.GroupVersionKind{Group: p.Group, Version: version, Kind: p.Kind + "List"})
			err := pages(ctx, c, list, func(l *unstructured.UnstructuredList) {
				for i := range l.Items {
					c.in.Resources = append(c.in.Resources, p.Read(&l.Items[i]))
				}
			})
			if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
				continue // the cluster has not this version, or not this project
			}
			if err := c.optional(p.Resource+"."+p.Group, err); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

// optional makes a gap of what may not be read.
func (c *reading) optional(resource string, err error) error {
	if apierrors.IsForbidden(err) {
		c.gaps = append(c.gaps, resource)
		return nil
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", resource, err)
	}
	return nil
}

// pages reads a list page by page.
func pages[L client.ObjectList](ctx context.Context, c *reading, list L, each func(L)) error {
	for {
		if err := c.reader.List(ctx, list, client.InNamespace(c.namespace), client.Limit(page), client.Continue(list.GetContinue())); err != nil {
			return err
		}
		each(list)
		if list.GetContinue() == "" {
			return nil
		}
	}
}
