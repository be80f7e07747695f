package verification

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// TestLiteralFacts: a ConfigMap that nobody has read, or may read, is not clean.
func TestLiteralFacts(t *testing.T) {
	now := time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)
	mounted := &v1alpha1.MCPServer{Spec: v1alpha1.MCPServerSpec{Pod: &v1alpha1.PodSettings{Volumes: []v1alpha1.Volume{{Name: "v", ConfigMap: &v1alpha1.ConfigMapVolume{Name: "c"}}}}}}
	for _, test := range []struct {
		name   string
		server *v1alpha1.MCPServer
		spec   []string
		last   *run
		known  bool
		want   []string
	}{
		{"no ConfigMap", &v1alpha1.MCPServer{}, nil, nil, true, nil},
		{"not read yet", mounted, nil, nil, false, nil},
		{"clean", mounted, nil, &run{at: now}, true, nil},
		{"unread", mounted, nil, &run{at: now, unread: []string{"c"}}, false, nil},
		{"found", mounted, nil, &run{at: now, literals: []string{"x"}, unread: []string{"d"}}, true, []string{"x"}},
		{"in the spec", mounted, []string{"y"}, nil, true, []string{"y"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &posture.Snapshot{Now: now, Literals: posture.Say(test.spec, "MCPServer spec")}
			(&observed{server: test.server, now: now}).literalFacts(s, test.last)
			if s.Literals.Known != test.known || cmp.Diff(test.want, s.Literals.Value) != "" && test.known {
				t.Errorf("%+v", s.Literals)
			}
		})
	}
}

// TestImages: an image is named by what stands for it, once for all pods that run it.
func TestImages(t *testing.T) {
	a, b := "sha256:"+strings.Repeat("a", 64), "sha256:"+strings.Repeat("b", 64)
	pod := func(spec, node string) corev1.Pod {
		return corev1.Pod{
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "server", Image: spec}}},
			Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
				{Name: "server", ImageID: node}, {Name: "gate", ImageID: "registry.example/gate@sha256:" + strings.Repeat("c", 64)},
			}},
		}
	}
	o := &observed{pods: []corev1.Pod{pod("r/x@"+a, "r/x@"+a), pod("r/x@"+a, "r/x@"+a), pod("r/x@"+a, "docker-pullable://r/x@"+b), pod("r/x:1", "")}}
	if diff := cmp.Diff([][]string{{}, {a}, {a, b}}, o.images()); diff != "" {
		t.Error(diff)
	}
}
