package posture_test

import (
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/posture"
)

// TestImage: UPD-1 by everything that runtimes are known to report about the image of a container.
func TestImage(t *testing.T) {
	const name = "registry.example/github"
	own, other := "@sha256:"+strings.Repeat("a", 64), "@sha256:"+strings.Repeat("b", 64)
	reported := func(runtime string, ids ...string) (all []posture.ReportedImage) {
		for _, id := range ids {
			all = append(all, posture.ReportedImage{Runtime: runtime, ID: id})
		}
		return all
	}
	for _, test := range []struct {
		name, spec, pods string
		nodes            []posture.ReportedImage
		want             posture.Status
		reason           string
	}{
		{"the digest that was pulled", name + own, name + own, reported("containerd", name+own), posture.Pass, "the nodes say that the pods run it (sha256:aaaaaaaaaaaa)"},
		{"under the name of a mirror", name + own, name + own, reported("containerd", "mirror.example/github"+own), posture.Pass, "the nodes say"},
		{"as Docker writes it", name + own, name + own, reported("docker", "docker-pullable://"+name+own), posture.Pass, "the nodes say"},
		{"an index, whose digest is its id", name + own, name + own, reported("docker", own[1:]), posture.Pass, "the nodes say"},
		{"not started yet", name + own, name + own, nil, posture.Pass, "no node runs it yet"},
		{"no pod", name + own, "", nil, posture.Pass, "no pod runs it now"},
		{"a tag", name + ":1", name + ":1", reported("containerd", name+own), posture.Fail, "has no digest"},
		{"another in the pod's spec", name + own, name + other, reported("containerd", name+own), posture.Fail, "a pod runs " + name + other},
		{"another at a node", name + own, name + own, reported("containerd", name+own, name+other), posture.Fail, "a node (containerd) runs " + name + other + ", and the spec says " + own[1:]},
		{"another at Docker", name + own, name + own, reported("docker", "docker-pullable://"+name+other), posture.Fail, "a node (docker) runs"},
		{"a failure counts more than what is unclear", name + own, name + own, reported("containerd", other[1:], name+other), posture.Fail, "a node (containerd) runs"},
		{"the id of the configuration", name + own, name + own, reported("containerd", other[1:]), posture.Error, "a node (containerd) reports only its own id of the image, sha256:bbbbbbbbbbbb"},
		{"the id of the configuration at Docker", name + own, name + own, reported("docker", "docker://"+other[1:]), posture.Error, "a node (docker) reports only its own id of the image, sha256:bbbbbbbbbbbb"},
		{"one node unclear", name + own, name + own, reported("containerd", name+own, other[1:]), posture.Error, "reports only its own id"},
		{"perhaps the platform's digest", name + own, name + own, reported("cri-o", name+other), posture.Error, "a node (cri-o) reports sha256:bbbbbbbbbbbb, which may be the digest of the image of its platform"},
		{"a tag at a node", name + own, name + own, reported("containerd", name+":1"), posture.Error, "which is no digest"},
		{"a runtime that does not say its name", name + own, name + own, reported("", name+other), posture.Error, "a node (a runtime without a name)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := healthy()
			s.Image.Value = posture.Image{Spec: test.spec, Reported: test.nodes}
			if test.pods != "" {
				s.Image.Value.Running = []string{test.pods}
			}
			for _, r := range posture.Evaluate(s).Results {
				if r.Control == "UPD-1" && (r.Status != test.want || !strings.Contains(r.Reason, test.reason)) {
					t.Errorf("want %s with %q: %+v", test.want, test.reason, r)
				}
			}
		})
	}
}
