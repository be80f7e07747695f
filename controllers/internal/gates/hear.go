package gates

import (
	"cmp"
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/fresh"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/declared"
)

// Server is a server whose gates are asked.
type Server struct {
	*v1alpha1.MCPServer
	// Bundle vouches for their certificates.
	Bundle string
}

// Voice is what a gate that counts says.
type Voice struct {
	Pod *corev1.Pod
	Answer
}

// Name is what people read.
func (v Voice) Name() string { return "Pod " + v.Pod.Namespace + "/" + v.Pod.Name }

// Since is when the gate started; zero when it does not run.
func (v Voice) Since() time.Time {
	for _, c := range v.Pod.Status.InitContainerStatuses {
		if c.Name == manifests.GateContainer && c.State.Running != nil {
			return c.State.Running.StartedAt.Time
		}
	}
	return time.Time{}
}

// Ear hears gates. Its zero value is ready for use.
type Ear struct {
	pods fresh.Group[client.ObjectKey, []corev1.Pod]
}

// patience bounds one question for the pods of a server.
const patience = 30 * time.Second

// Hear asks the gates of servers, and returns those that count (see [Counts]) in the order of their names. The pods are asked
// for past any cache: one that it does not know would not be asked.
func (e *Ear) Hear(ctx context.Context, live client.Reader, reader Reader, servers []Server, now time.Time) ([]Voice, error) {
	var voices []Voice
	var asked []Gate
	for _, s := range servers {
		pods, err := e.pods.Ask(ctx, client.ObjectKeyFromObject(s), func() ([]corev1.Pod, error) {
			all := corev1.PodList{}
			bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
			defer cancel()
			err := live.List(bounded, &all, client.InNamespace(s.Namespace), client.MatchingLabels(manifests.Selector(s.Name)))
			return all.Items, err
		})
		if err != nil {
			return nil, err
		}
		for i := range pods {
			pod := &pods[i]
			if declared.HasGate(pod) && Counts(pod, true, now) {
				voices = append(voices, Voice{Pod: pod})
				asked = append(asked, Gate{Address: pod.Status.PodIP, ServerName: manifests.ServerName(s.MCPServer), Roots: s.Bundle})
			}
		}
	}
	if len(asked) == 0 {
		return nil, nil
	}
	for i, answer := range reader.Read(ctx, asked) {
		voices[i].Answer = answer
	}
	voices = slices.DeleteFunc(voices, func(v Voice) bool { return !Counts(v.Pod, v.Err == nil, now) })
	slices.SortFunc(voices, func(a, b Voice) int { return cmp.Compare(a.Name(), b.Name()) })
	return voices, nil
}
