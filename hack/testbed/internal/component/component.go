// Package component compiles the testbed's parts, each group from a Go module of its own below components/, into a cache outside the checkout.
package component

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// A Component is one binary of the testbed.
type Component struct {
	// Name is its binary's name.
	Name string
	// Source is its folder, relative to the testbed's; components/NAME where it is empty.
	Source string
	// Package is the main package, where it is one of a published module and not of the component itself.
	Package string
	// Usually is how long it takes to compile on two cores with the ones before it compiled (they share packages).
	Usually time.Duration
	// LDFlags are added to the linker's.
	LDFlags string
	// CRDModule has its CustomResourceDefinitions, in the files that CRDs name (as patterns), below its root. It is empty where there are none.
	CRDModule string
	CRDs      []string
	// Patch says that it is built from a changed copy of a module. See patch.go.
	Patch *Patch
}

// kubernetes are the linker's flags of a Kubernetes version: clients refuse one that does not say which it is.
func kubernetes(version, minor string) string {
	const variable = "k8s.io/component-base/version"
	return "-X " + variable + ".gitVersion=" + version + " -X " + variable + ".gitMajor=1 -X " + variable + ".gitMinor=" + minor +
		" -X " + variable + ".gitTreeState=clean -X " + variable + ".gitCommit=testbed -X " + variable + ".buildDate=1970-01-01T00:00:00Z"
}

// The components.
var (
	Kubernetes = Component{Name: "kubernetes", Usually: 7 * time.Minute, LDFlags: kubernetes(KubernetesVersion, "36")}
	// KubernetesNext has no parts of a node: an API server may be a version ahead of its kubelets.
	KubernetesNext = Component{Name: "kubernetesnext", Usually: 7 * time.Minute, LDFlags: kubernetes("v1.37.0", "37")}

	Pause       = Component{Name: "pause", Usually: 2 * time.Second}
	Images      = Component{Name: "images", Source: "../images", Usually: 5 * time.Second}
	Probe       = Component{Name: "probe", Usually: 5 * time.Second}
	KubeRouter  = Component{Name: "kuberouter", Usually: 15 * time.Second}
	CoreDNS     = Component{Name: "coredns", Usually: 15 * time.Second}
	CertManager = Component{
		Name: "certmanager", Usually: 25 * time.Second, CRDModule: "github.com/cert-manager/cert-manager",
		CRDs: []string{"deploy/crds/cert-manager.io_*.yaml"}, // not those of ACME, which it does not run
	}
	ExternalSecrets = Component{
		Name: "externalsecrets", Usually: 70 * time.Second, CRDModule: "github.com/external-secrets/external-secrets",
		CRDs: []string{
			"config/crds/bases/external-secrets.io_*.yaml", "config/crds/bases/generators.external-secrets.io_fakes.yaml",
			"config/crds/bases/generators.external-secrets.io_passwords.yaml", "config/crds/bases/generators.external-secrets.io_generatorstates.yaml",
			"config/crds/bases/generators.external-secrets.io_clustergenerators.yaml",
		},
		Patch: &externalSecretsPatch,
	}
)

// Flux's controllers. Each brings every cloud's SDK and an older Kubernetes' libraries, so that it shares next to nothing with the others.
var Flux = []Component{
	{
		Name: "fluxsource", Package: "github.com/fluxcd/source-controller", Usually: 7 * time.Minute,
		CRDModule: "github.com/fluxcd/source-controller", CRDs: []string{"config/crd/bases/*.yaml"},
	},
	{
		Name: "fluxkustomize", Package: "github.com/fluxcd/kustomize-controller", Usually: 6 * time.Minute,
		CRDModule: "github.com/fluxcd/kustomize-controller", CRDs: []string{"config/crd/bases/*.yaml"},
	},
	{
		Name: "fluxhelm", Package: "github.com/fluxcd/helm-controller", Usually: 5 * time.Minute,
		CRDModule: "github.com/fluxcd/helm-controller", CRDs: []string{"config/crd/bases/*.yaml"},
	},
}

// KubernetesVersion is the version of every Kubernetes part; components/kubernetes/go.mod pins the same.
const KubernetesVersion = "v1.36.3"

// APIServer is the component with the API server that $BARTIZAN_KUBERNETES asks for.
func APIServer() (Component, error) {
	switch version := os.Getenv("BARTIZAN_KUBERNETES"); version {
	case "", "1.36":
		return Kubernetes, nil
	case "1.37":
		return KubernetesNext, nil
	default:
		return Component{}, fmt.Errorf("BARTIZAN_KUBERNETES is %q: 1.36 (which it is when it is not set) or 1.37", version)
	}
}

// All returns every component but the self test's, in the order in which they are compiled.
func All() ([]Component, error) {
	apiServer, err := APIServer()
	all := []Component{Kubernetes, KubeRouter, CoreDNS, CertManager, ExternalSecrets, Images, Pause}
	if apiServer.Name != Kubernetes.Name {
		all = append(all, apiServer)
	}
	return all, err
}

// A Builder compiles components.
type Builder struct {
	// Source is the folder of the testbed's module.
	Source string
	// Cache is the folder of everything that may be kept between runs.
	Cache string
	// Say shows a person what goes on.
	Say func(format string, args ...any)
}

// SourceFolder finds the testbed's module: where this program was compiled from, or else the checkout that the working folder is in.
func SourceFolder() (string, error) {
	is := func(folder string) bool {
		_, err := os.Stat(filepath.Join(folder, "components", Kubernetes.Name, "go.mod"))
		return err == nil
	}
	if _, file, _, ok := runtime.Caller(0); ok {
		if folder := filepath.Join(filepath.Dir(file), "..", ".."); is(folder) {
			return filepath.Abs(folder)
		}
	}
	folder, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		for _, candidate := range []string{folder, filepath.Join(folder, "hack", "testbed")} {
			if is(candidate) {
				return candidate, nil
			}
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return "", errors.New("cannot find the folder hack/testbed with the components' sources; run this inside a checkout of Bartizan")
		}
		folder = parent
	}
}

// CacheFolder is $XDG_CACHE_HOME/bartizan/testbed, or the same below ~/.cache.
func CacheFolder() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place for compiled binaries: %w; set XDG_CACHE_HOME or HOME", err)
	}
	return filepath.Join(base, "bartizan", "testbed"), nil
}

// Folder is where a component's binary and CRDs are, once compiled.
func (b *Builder) Folder(c Component) (string, error) {
	key, err := b.key(c)
	if err != nil {
		return "", err
	}
	return filepath.Join(b.Cache, "bin", c.Name+"-"+key), nil
}

// source is the folder of a component's module.
func (b *Builder) source(c Component) string {
	if c.Source != "" {
		return filepath.Join(b.Source, c.Source)
	}
	return filepath.Join(b.Source, "components", c.Name)
}

// key changes when anything changes that the binary is made from: the component's files (with its go.sum, so all its dependencies), the compiler,
// and the way of building.
func (b *Builder) key(c Component) (string, error) {
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.Version(), runtime.GOOS, runtime.GOARCH, strings.Join(b.flags(c), " "), c.CRDModule, c.CRDs)
	if c.Patch != nil {
		fmt.Fprintf(hash, "%+v\n", *c.Patch)
	}
	if c.Package != "" {
		fmt.Fprintln(hash, c.Package)
	}
	if err := hashTree(hash, b.source(c)); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil))[:12], nil
}

// hashTree feeds names and contents of all files below root, in a fixed order.
func hashTree(hash io.Writer, root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(hash, "%q %d\n", filepath.ToSlash(name), len(content))
		_, err = hash.Write(content)
		return err
	})
}
