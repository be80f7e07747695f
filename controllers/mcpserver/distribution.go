package mcpserver

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/controllers/internal/apply"
	"github.com/bartizan-dev/bartizan/controllers/internal/gates"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
)

// distribution is how far a configuration has come.
type distribution struct {
	// generation is what the gates should run; empty while there is no configuration.
	generation string
	// ready is the number of ready pods, acknowledged how many of their gates run the generation.
	ready, acknowledged int
	// silent are the pods whose gates did not answer, in order.
	silent []string
	// problem is what a gate says about a configuration that it refuses.
	problem string
	// listeners are sockets of the pods that are open to more than the pod itself.
	listeners []string
}

func (d distribution) complete() bool { return d.acknowledged == d.ready }

// distribute asks the gates of the ready pods what they run, and has the kubelet read the Secret again for those that run
// something else.
func (r *Reconciler) distribute(ctx context.Context, o *observed, generation string) (distribution, error) {
	d := distribution{generation: generation}
	var ready []*corev1.Pod
	var asked []gates.Gate
	for i := range o.pods {
		pod := &o.pods[i]
		if !podReady(pod) || pod.Status.PodIP == "" {
			continue
		}
		ready = append(ready, pod)
		asked = append(asked, gates.Gate{Address: pod.Status.PodIP, ServerName: manifests.ServerName(o.server), Roots: o.caBundle})
	}
	d.ready = len(ready)
	if generation == "" || len(ready) == 0 {
		return d, nil
	}
	serial := ""
	if leaf := leaf(o.certificateSecret); leaf != nil {
		serial = leaf.SerialNumber.Text(16)
	}
	answers := make([]gates.Answer, len(asked))
	var each errgroup.Group
	for i := range asked {
		each.Go(func() error { // one that is slow to answer keeps no other from being told
			answers[i] = r.Gates.Read(ctx, asked[i:i+1])[0]
			changed := map[string]string{}
			if answers[i].Err != nil || answers[i].Status.Generation != generation {
				changed[manifests.AnnotationGateGeneration] = generation
			}
			if shown := answers[i].Status.CertificateSerial; shown != "" && shown != serial {
				changed[manifests.AnnotationCertificate] = serial
			}
			return r.nudge(ctx, ready[i], changed)
		})
	}
	err := each.Wait()
	seen := map[string]bool{}
	for i, answer := range answers {
		switch {
		case answer.Err != nil:
			d.silent = append(d.silent, ready[i].Name)
		case answer.Status.Generation == generation:
			d.acknowledged++
		case answer.Status.ConfigError != "":
			d.problem = answer.Status.ConfigError
		}
		if answer.Status.Generation == generation {
			r.unknownKeys(o, answer.Status.UnknownKeys)
		}
		for _, listener := range answer.Status.Listeners {
			if !seen[listener] {
				seen[listener] = true
				d.listeners = append(d.listeners, listener)
			}
		}
	}
	slices.Sort(d.silent)
	return d, err
}

// nudge changes annotations of the pod, so that its kubelet reads the pod's Secrets now and not within a minute or more.
// Once for each value is enough.
func (r *Reconciler) nudge(ctx context.Context, pod *corev1.Pod, annotations map[string]string) error {
	maps.DeleteFunc(annotations, func(key, value string) bool { return pod.Annotations[key] == value })
	if len(annotations) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID, "annotations": annotations}})
	if err != nil {
		return err
	}
	err = r.Client.Patch(ctx, pod.DeepCopy(), client.RawPatch(types.MergePatchType, patch), client.FieldOwner(apply.FieldOwner))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("annotate Pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

func podReady(pod *corev1.Pod) bool {
	if pod.DeletionTimestamp != nil {
		return false
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// pace remembers for each server how often its gates were asked about a generation, so that the questions become rarer.
type pace struct {
	mutex sync.Mutex
	asked map[types.NamespacedName]question
}

type question struct {
	generation string
	times      int
	since      time.Time
}

const (
	firstDelay = 500 * time.Millisecond
	lastDelay  = 30 * time.Second
)

// next returns how long to wait before the gates are asked again, and for a distribution that has just become complete how
// long it took.
func (p *pace) next(server types.NamespacedName, d distribution, now time.Time) (wait time.Duration, took time.Duration) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.asked == nil {
		p.asked = map[types.NamespacedName]question{}
	}
	q, known := p.asked[server]
	if d.complete() || d.ready == 0 {
		delete(p.asked, server)
		if known && d.ready > 0 && q.generation == d.generation {
			took = now.Sub(q.since)
		}
		return 0, took
	}
	if !known || q.generation != d.generation {
		q = question{generation: d.generation, since: now}
	}
	wait = min(firstDelay<<min(q.times, 10), lastDelay)
	q.times++
	p.asked[server] = q
	return wait, 0
}

func (p *pace) forget(server types.NamespacedName) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	delete(p.asked, server)
}
