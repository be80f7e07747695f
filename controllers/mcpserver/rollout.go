package mcpserver

import (
	"slices"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
)

// Budget bounds how many servers roll at the same time because the operator's pod template changed. It is shared by all
// reconciles of the process.
type Budget struct {
	limit int

	mutex sync.Mutex
	// admitted are servers that may roll and whose Deployments do not show it yet.
	admitted map[types.NamespacedName]bool
	// waiting are servers that asked in vain, in the order in which they asked.
	waiting []types.NamespacedName
}

// NewBudget returns a Budget of so many servers at once.
func NewBudget(limit int) *Budget {
	return &Budget{limit: limit, admitted: map[types.NamespacedName]bool{}}
}

// onlyTheOperatorChanged says whether the desired pod template differs from the live one by what the operator decides, and
// by nothing that a user or a secret changed. After an operator that hashed other things nobody can tell, and the server waits for its
// turn: else an upgrade would roll all servers at once.
func onlyTheOperatorChanged(live *appsv1.Deployment, revision, inputs string) bool {
	before := live.Annotations[manifests.AnnotationInputs]
	return live.Labels[manifests.LabelTemplateRevision] != revision && (before == inputs || !manifests.ComparableInputs(before, inputs))
}

// rolledOut says whether all pods are those of the newest template, and available.
func rolledOut(d *appsv1.Deployment) bool {
	wanted := int32(1)
	if d.Spec.Replicas != nil {
		wanted = *d.Spec.Replicas
	}
	s := d.Status
	return s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == wanted && s.Replicas == wanted && s.AvailableReplicas == wanted
}

// broken says whether a Deployment has given up and nothing of it runs: that was so before the operator's template changed,
// or the old pods would still be there.
func broken(d *appsv1.Deployment) bool {
	for _, condition := range d.Status.Conditions {
		if condition.Type == appsv1.DeploymentProgressing && condition.Status == corev1.ConditionFalse {
			return d.Status.AvailableReplicas == 0
		}
	}
	return false
}

// Admit says whether a server may roll now. deployments are those of all servers, revision is the operator's. A Deployment
// that has given up while its old pods still run keeps its place: a template that does not start goes no further.
func (b *Budget) Admit(server types.NamespacedName, revision string, deployments []appsv1.Deployment) bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	busy := 0
	for i := range deployments {
		d := &deployments[i]
		if d.Labels[manifests.LabelTemplateRevision] != revision {
			continue
		}
		name := types.NamespacedName{Namespace: d.Namespace, Name: d.Labels[manifests.LabelServer]}
		delete(b.admitted, name)
		if !rolledOut(d) && !broken(d) {
			busy++
		}
	}
	if b.admitted[server] {
		return true
	}
	if busy+len(b.admitted) < b.limit {
		b.admitted[server] = true
		b.leave(server)
		return true
	}
	if !slices.Contains(b.waiting, server) {
		b.waiting = append(b.waiting, server)
	}
	return false
}

// Forget takes a server out, because it is gone or need not roll.
func (b *Budget) Forget(server types.NamespacedName) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	delete(b.admitted, server)
	b.leave(server)
}

// Waiting are the servers to ask again after one has rolled, in the order of their asking, at most as many as may roll.
func (b *Budget) Waiting() []types.NamespacedName {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return slices.Clone(b.waiting[:min(b.limit, len(b.waiting))])
}

func (b *Budget) leave(server types.NamespacedName) {
	b.waiting = slices.DeleteFunc(b.waiting, func(waiting types.NamespacedName) bool { return waiting == server })
}
