package posture

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var (
	digest = regexp.MustCompile(`@sha256:[0-9a-f]{64}$`)
	// bare is an image without a name. Most runtimes mean the digest of the image's configuration by it.
	bare = regexp.MustCompile(`^(docker://)?sha256:[0-9a-f]{64}$`)
)

// pulled are the runtimes that report the digest that was pulled, be it of an index or of one platform's image.
var pulled = []string{"containerd", "docker"}

func judgeImage(s *Snapshot) verdict {
	f := s.Image
	if v, ok := known(s, f); !ok {
		return v
	}
	at := digest.FindString(f.Value.Spec)
	if at == "" {
		return on(f, Fail, "the image %s has no digest: what runs may change", f.Value.Spec)
	}
	for _, image := range f.Value.Running {
		if !strings.HasSuffix(image, at) {
			return on(f, Fail, "a pod runs %s, and the spec says %s", image, f.Value.Spec)
		}
	}
	unclear := ""
	for _, r := range f.Value.Reported {
		status, reason := r.compare(at)
		if status == Fail {
			return on(f, Fail, "%s", reason)
		}
		if unclear == "" {
			unclear = reason
		}
	}
	switch {
	case unclear != "":
		return on(f, Error, "the pods' specs have the digest of the spec, but %s", unclear)
	case len(f.Value.Reported) > 0:
		return on(f, Pass, "the image is a digest, and the nodes say that the pods run it (%s)", short(at))
	case len(f.Value.Running) > 0:
		return on(f, Pass, "the image is a digest, which the pods' specs have; no node runs it yet")
	}
	return on(f, Pass, "the image is a digest; no pod runs it now")
}

// compare compares what a node says with the digest of a spec, "@sha256:…". Only where the two can be compared, a difference is a
// failure; the reason is empty where they are the same.
func (r ReportedImage) compare(at string) (Status, string) {
	runtime := r.Runtime
	if runtime == "" {
		runtime = "a runtime without a name"
	}
	found := digest.FindString(r.ID)
	switch {
	case found == at, bare.MatchString(r.ID) && strings.HasSuffix(r.ID, at[1:]):
		return Pass, ""
	case bare.MatchString(r.ID):
		return Error, fmt.Sprintf("a node (%s) reports only its own id of the image, %s, because it knows no digest of a registry: whether it is the same cannot be told",
			runtime, short("@"+strings.TrimPrefix(r.ID, "docker://")))
	case found == "":
		return Error, fmt.Sprintf("a node (%s) reports %q, which is no digest", runtime, r.ID)
	case slices.Contains(pulled, runtime):
		return Fail, fmt.Sprintf("a node (%s) runs %s, and the spec says %s", runtime, r.ID, at[1:])
	}
	return Error, fmt.Sprintf("a node (%s) reports %s, which may be the digest of the image of its platform in the index that the spec names: whether it is the same cannot be told",
		runtime, short(found))
}

// short is the beginning of a digest, which is enough for people.
func short(at string) string { return at[1:20] }
