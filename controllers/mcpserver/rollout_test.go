package mcpserver

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
)

func named(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "team-a", Name: name}
}

// deployment is one of a revision, with so many of two pods updated and available.
func deployment(name, revision string, updated, available int32) appsv1.Deployment {
	two := int32(2)
	return appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "team-a", Name: name, Generation: 3,
			Labels:      map[string]string{manifests.LabelServer: name, manifests.LabelTemplateRevision: revision},
			Annotations: map[string]string{manifests.AnnotationInputs: "7-inputs"},
		},
		Spec:   appsv1.DeploymentSpec{Replicas: &two},
		Status: appsv1.DeploymentStatus{ObservedGeneration: 3, Replicas: 2, UpdatedReplicas: updated, AvailableReplicas: available},
	}
}

func gaveUp(d appsv1.Deployment) appsv1.Deployment {
	d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse}}
	return d
}

func TestRolledOut(t *testing.T) {
	unseen := deployment("a", "new", 2, 2)
	unseen.Generation = 4
	surplus := deployment("a", "new", 2, 2)
	surplus.Status.Replicas = 3
	for _, test := range []struct {
		name string
		d    appsv1.Deployment
		want bool
	}{
		{"done", deployment("a", "new", 2, 2), true},
		{"one to go", deployment("a", "new", 1, 2), false},
		{"not available", deployment("a", "new", 2, 1), false},
		{"not seen by its controller", unseen, false},
		{"an old pod still there", surplus, false},
	} {
		if got := rolledOut(&test.d); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestOnlyTheOperatorChanged(t *testing.T) {
	d := deployment("a", "old", 2, 2)
	for _, test := range []struct {
		revision, inputs string
		want             bool
	}{{"new", "7-inputs", true}, {"old", "7-inputs", false}, {"new", "7-others", false}, {"old", "7-others", false}, {"new", "8-others", true}, {"old", "8-others", false}} {
		if got := onlyTheOperatorChanged(&d, test.revision, test.inputs); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
	// As the operator of before the version was in it has left them.
	d.Annotations[manifests.AnnotationInputs] = "inputs"
	if !onlyTheOperatorChanged(&d, "new", "7-inputs") {
		t.Error("a hash without a version is taken for one that a user has changed")
	}
}

func TestBudget(t *testing.T) {
	t.Run("no more than the limit, in the order of asking", func(t *testing.T) {
		b := NewBudget(2)
		var admitted []string
		for _, name := range []string{"a", "b", "c", "d", "c"} {
			if b.Admit(named(name), "new", nil) {
				admitted = append(admitted, name)
			}
		}
		if !slices.Equal(admitted, []string{"a", "b"}) {
			t.Fatalf("admitted %v", admitted)
		}
		if !b.Admit(named("a"), "new", nil) {
			t.Error("who was admitted is so until its Deployment shows it")
		}
		if waiting := b.Waiting(); !slices.Equal(waiting, []types.NamespacedName{named("c"), named("d")}) {
			t.Errorf("waiting %v", waiting)
		}
		// a is under way and b is done: one place is free.
		now := []appsv1.Deployment{deployment("a", "new", 1, 2), deployment("b", "new", 2, 2)}
		if !b.Admit(named("c"), "new", now) || b.Admit(named("d"), "new", now) {
			t.Error("one place was free")
		}
	})
	t.Run("what gave up keeps its place while its old pods run", func(t *testing.T) {
		b := NewBudget(1)
		if b.Admit(named("b"), "new", []appsv1.Deployment{gaveUp(deployment("a", "new", 1, 2))}) {
			t.Error("a template that does not start went on to the next server")
		}
		if !b.Admit(named("b"), "new", []appsv1.Deployment{gaveUp(deployment("a", "new", 1, 0))}) {
			t.Error("a server of which nothing runs anyhow blocks all others")
		}
	})
	t.Run("who is gone leaves its place", func(t *testing.T) {
		b := NewBudget(1)
		b.Admit(named("a"), "new", nil)
		b.Admit(named("b"), "new", nil)
		b.Forget(named("a"))
		if !b.Admit(named("c"), "new", nil) {
			t.Error("the place is not free")
		}
		b.Forget(named("b"))
		if waiting := b.Waiting(); len(waiting) > 0 {
			t.Errorf("waiting %v", waiting)
		}
	})
	t.Run("many at once", func(t *testing.T) {
		b := NewBudget(5)
		var group sync.WaitGroup
		var mutex sync.Mutex
		admitted := 0
		for i := range 100 {
			group.Go(func() {
				if b.Admit(named(fmt.Sprint(i)), "new", nil) {
					mutex.Lock()
					admitted++
					mutex.Unlock()
				}
			})
		}
		group.Wait()
		if admitted != 5 {
			t.Errorf("%d were admitted", admitted)
		}
	})
}
