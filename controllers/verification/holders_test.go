package verification

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// TestSecretsOf: every way in which a container reads a Secret counts, and that by which its image is pulled does not.
func TestSecretsOf(t *testing.T) {
	env := func(name string) []corev1.EnvVar {
		return []corev1.EnvVar{{Name: "A", Value: "a"}, {Name: "B", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}}}
	}
	from := func(name string) []corev1.EnvFromSource {
		return []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{}}, {SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}}
	}
	pod := corev1.PodSpec{
		ImagePullSecrets:    []corev1.LocalObjectReference{{Name: "pull"}},
		InitContainers:      []corev1.Container{{Env: env("of-init")}},
		Containers:          []corev1.Container{{Env: env("of-env")}, {EnvFrom: from("of-all")}},
		EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{EnvFrom: from("of-debug")}}},
		Volumes: []corev1.Volume{
			{VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "mounted"}}},
			{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ConfigMap: &corev1.ConfigMapProjection{}}, {Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "projected"}}},
			}}}},
		},
	}
	got := secretsOf(&pod)
	slices.Sort(got)
	if want := []string{"mounted", "of-all", "of-debug", "of-env", "of-init", "projected"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestTokenFact: a token is asked for by spec.kubernetesAccess, of the account that it names, and never by a Secret.
func TestTokenFact(t *testing.T) {
	asks := &v1alpha1.KubernetesAccess{ServiceAccountName: "reader"}
	token := corev1.Volume{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{}}}}}}
	secret := func(name string) corev1.Volume {
		return corev1.Volume{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name}}}
	}
	for _, test := range []struct {
		name    string
		access  *v1alpha1.KubernetesAccess
		account string
		volumes []corev1.Volume
		unread  []string
		want    posture.Status
		words   string
	}{
		{"nothing", nil, "weather", nil, nil, posture.Pass, ""},
		{"a token that nobody asked for", nil, "weather", []corev1.Volume{token}, nil, posture.Fail, "Pod p"},
		{"a token that was asked for", asks, "reader", []corev1.Volume{token}, nil, posture.Pass, "asks for"},
		{"that of another account", asks, "admin", []corev1.Volume{token}, nil, posture.Fail, "that of ServiceAccount admin"},
		{"another account without its token", asks, "admin", nil, nil, posture.Pass, ""},
		{"one in a Secret", nil, "weather", []corev1.Volume{secret("other"), secret("holds")}, nil, posture.Fail, "that of ServiceAccount admin in Secret holds"},
		{"one in a Secret, where one was asked for", asks, "reader", []corev1.Volume{token, secret("holds")}, nil, posture.Fail, "in Secret holds"},
		{"a Secret that cannot be read", nil, "weather", []corev1.Volume{secret("other")}, []string{"other"}, posture.Error, "Secret other"},
		{"one that cannot be read beside one that holds one", nil, "weather", []corev1.Volume{secret("other"), secret("holds")}, []string{"other"}, posture.Fail, "in Secret holds"},
		{"one that could not be read, and is of no pod any more", nil, "weather", nil, []string{"other"}, posture.Pass, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := &observed{server: &v1alpha1.MCPServer{}, now: time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC), holders: holders{accounts: map[string]string{"holds": "admin"}, unread: test.unread}}
			o.server.Name, o.server.Spec.KubernetesAccess = "weather", test.access
			pod := corev1.Pod{Spec: corev1.PodSpec{ServiceAccountName: test.account, Volumes: test.volumes}}
			pod.Name = "p"
			o.pods = []corev1.Pod{pod}
			for _, r := range posture.Evaluate(&posture.Snapshot{Now: o.now, Token: o.tokenFact()}).Results {
				if r.Control == "LEAST-3" && (r.Status != test.want || !strings.Contains(r.Reason, test.words)) {
					t.Errorf("%s: %s", r.Status, r.Reason)
				}
			}
		})
	}
}
