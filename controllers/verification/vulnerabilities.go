package verification

import (
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/controllers/internal/optional"
	"github.com/bartizan-dev/bartizan/internal/posture"
	"github.com/bartizan-dev/bartizan/internal/vulnerability"
)

// +kubebuilder:rbac:groups=aquasecurity.github.io,resources=vulnerabilityreports;sbomreports,verbs=list;watch

// VulnerabilityReports and BOMReports are the APIs of Trivy operator, of which only reports are read. No cache has more of them than
// their metadata, as they are large.
var (
	VulnerabilityReports = optional.API{
		Name: "Trivy operator", Version: vulnerability.Kind.GroupVersion(), Key: "trivy/" + vulnerability.Resource, Resources: []string{vulnerability.Resource},
	}
	BOMReports = optional.API{
		Name: "Trivy operator's SbomReports", Version: vulnerability.BOMKind.GroupVersion(), Key: "trivy/" + vulnerability.BOMResource, Resources: []string{vulnerability.BOMResource},
	}
)

var imageDigest = regexp.MustCompile(`sha256:[0-9a-f]{64}$`)

// images are the digests that stand for each of the images of the server's pods: that of the pod's spec, and the node's.
func (o *observed) images() (all [][]string) {
	for i := range o.pods {
		pod := &o.pods[i]
		if pod.DeletionTimestamp != nil {
			continue
		}
		names := []string{imageDigest.FindString(image(pod, manifests.ServerContainer))}
		if status := statusOf(pod, manifests.ServerContainer); status != nil {
			names = append(names, imageDigest.FindString(status.ImageID))
		}
		names = slices.DeleteFunc(names, func(n string) bool { return n == "" })
		slices.Sort(names)
		names = slices.Compact(names)
		if !slices.ContainsFunc(all, func(known []string) bool { return slices.Equal(known, names) }) {
			all = append(all, names)
		}
	}
	slices.SortFunc(all, func(a, b []string) int { return strings.Compare(strings.Join(a, " "), strings.Join(b, " ")) })
	return all
}

// replicaSets are those that the server's pods are of.
func (o *observed) replicaSets() (all []string) {
	for i := range o.pods {
		owner := metav1.GetControllerOfNoCopy(&o.pods[i])
		if o.pods[i].DeletionTimestamp == nil && owner != nil && owner.Kind == "ReplicaSet" && !slices.Contains(all, owner.Name) {
			all = append(all, owner.Name)
		}
	}
	slices.Sort(all)
	return all
}

// scanFacts are what reports say of the images.
func (o *observed) scanFacts(s *posture.Snapshot) {
	const vulnerabilities, boms, policies = "VulnerabilityReports of Trivy operator", "SbomReports of Trivy operator", "policy reports of Kyverno"
	v, age, signed := o.scan.vulnerable, o.scan.age, o.scan.signed
	// What is known to be wrong with one image counts more than that nothing is known of another.
	if s.Vulnerabilities.Missing = v.Missing; v.Missing == "" || len(v.Over) > 0 {
		s.Vulnerabilities = posture.See(posture.Vulnerabilities{Over: v.Over, Unmended: v.Unmended}, vulnerabilities, o.scan.at)
	}
	switch {
	case v.Old != "":
		s.OldImage = posture.See(v.Old, vulnerabilities, o.scan.at)
	case age.Missing != "":
		s.OldImage.Missing = age.Missing
	default:
		s.OldImage = posture.See(age.Old, boms, o.scan.at)
	}
	switch {
	case len(signed.Unsigned) > 0:
		s.Unsigned = posture.See(signed.Unsigned, policies, o.scan.at)
	case signed.Missing != "":
		s.Unsigned.Missing = signed.Missing
	default:
		s.Unsigned = posture.See[[]string](nil, policies, o.scan.at)
	}
}
