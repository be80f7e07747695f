package verification

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/posture"
	"github.com/bartizan-dev/bartizan/internal/signature"
	"github.com/bartizan-dev/bartizan/internal/vulnerability"
)

var moment = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

// TestReported: what nodes say of the server's containers, once for all pods, of those that run.
func TestReported(t *testing.T) {
	pod := func(image, id string) corev1.Pod {
		return corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
			{Name: "gate", ImageID: "gate@sha256:0", ContainerID: "containerd://0"}, {Name: "server", ImageID: image, ContainerID: id},
		}}}
	}
	gone := pod("r/gone@sha256:1", "containerd://1")
	gone.DeletionTimestamp = &metav1.Time{}
	o := &observed{pods: []corev1.Pod{
		pod("r/b@sha256:2", "containerd://2"), pod("r/a@sha256:1", "containerd://1"), pod("r/b@sha256:2", "containerd://3"), pod("r/b@sha256:2", "cri-o://4"),
		pod("", ""), gone, {},
	}}
	want := []posture.ReportedImage{{Runtime: "containerd", ID: "r/a@sha256:1"}, {Runtime: "containerd", ID: "r/b@sha256:2"}, {Runtime: "cri-o", ID: "r/b@sha256:2"}}
	if diff := cmp.Diff(want, o.reported("server")); diff != "" {
		t.Error(diff)
	}
}

// TestOfReport: a report is about the server whose ReplicaSet it names, and where it names none about all beside it.
func TestOfReport(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	server := func(namespace, name string) client.Object {
		return &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	}
	r := &Reconciler{Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(server("tools", "github"), server("tools", "github-two"), server("other", "github")).Build()}
	for set, want := range map[string][]string{
		"github-6f7c5d9b8": {"github"}, "github-two-6f7c5d9b8": {"github-two"}, "": {"github", "github-two"}, "web-6f7c5d9b8": {"github", "github-two"}, "-x": {"github", "github-two"},
	} {
		report := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "tools", Name: "r", UID: "u", ResourceVersion: set + "7", Labels: map[string]string{vulnerability.LabelResource: set}}}
		var got []string
		for _, request := range r.ofReport(t.Context(), report) {
			if request.Namespace != "tools" {
				t.Errorf("%q asks for %s", set, request)
			}
			if news, _ := r.news.last(request.NamespacedName); news != "u "+set+"7" {
				t.Errorf("%q: what was read of %s before is as good as new: %q", set, request, news)
			}
			got = append(got, request.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", set, diff)
		}
	}
}

// TestIdentityOnly: of a report nothing is kept but which one it is and of what.
func TestIdentityOnly(t *testing.T) {
	kept, err := identityOnly(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: "tools", Name: "r", UID: "u", ResourceVersion: "7", Annotations: map[string]string{"large": "x"},
		Labels:        map[string]string{vulnerability.LabelContainer: "server", vulnerability.LabelResource: "github-1", "other": "x"},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "trivy"}}, OwnerReferences: []metav1.OwnerReference{{Name: "github-1"}},
	}})
	want := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: "tools", Name: "r", UID: "u", ResourceVersion: "7", Labels: map[string]string{vulnerability.LabelContainer: "server", vulnerability.LabelResource: "github-1"},
	}}
	if diff := cmp.Diff(any(want), kept); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

// TestScanFacts: an image past its end of life is old whatever its age, and nothing passes that nobody reports.
func TestScanFacts(t *testing.T) {
	result := func(o *observed, control string) posture.Result {
		s := &posture.Snapshot{Now: o.now}
		o.scanFacts(s)
		for _, r := range posture.Evaluate(s).Results {
			if r.Control == control {
				return r
			}
		}
		return posture.Result{}
	}
	for _, test := range []struct {
		name, control string
		scan          scan
		want          posture.Status
		reason        string
	}{
		{"recent", "UPD-2", scan{vulnerable: vulnerability.Verdict{Missing: "no VulnerabilityReport"}}, posture.Pass, "the image is recent"},
		{"old", "UPD-2", scan{age: vulnerability.Age{Old: "built on 2020-01-01"}}, posture.Fail, "built on 2020-01-01"},
		{"of an age that nobody knows", "UPD-2", scan{age: vulnerability.Age{Missing: "no label"}}, posture.Error, "no label"},
		{"past its end of life, whatever its age", "UPD-2", scan{vulnerable: vulnerability.Verdict{Old: "past its end of life"}, age: vulnerability.Age{Missing: "no label"}}, posture.Fail, "past its end of life"},
		{"vulnerable", "UPD-3", scan{vulnerable: vulnerability.Verdict{Over: []string{"CVE-1"}}}, posture.Fail, "CVE-1"},
		{"nobody knows whether vulnerable", "UPD-3", scan{vulnerable: vulnerability.Verdict{Missing: "no report"}}, posture.Error, "no report"},
		{"signed", "UPD-5", scan{}, posture.Pass, "the policies that count have verified the signatures of all pods"},
		{"not signed", "UPD-5", scan{signed: signature.Verdict{Missing: "no report", Unsigned: []string{"Pod a"}}}, posture.Fail, "Pod a"},
		{"nobody knows whether signed", "UPD-5", scan{signed: signature.Verdict{Missing: "no report"}}, posture.Error, "no report"},
	} {
		o := &observed{scan: test.scan}
		o.now, o.scan.at = moment, moment
		if r := result(o, test.control); r.Status != test.want || r.Reason != test.reason {
			t.Errorf("%s: %+v", test.name, r)
		}
	}
}
