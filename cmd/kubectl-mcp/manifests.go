package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/discovery"
)

// mostManifest bounds a file, in bytes.
const mostManifest = 16 << 20

// place is where a manifest is; File is empty for standard input.
type place struct {
	File string
	Line int
}

// placed is an object and where its manifest is.
type placed[T any] struct {
	place
	object T
}

// manifests are what a scan looks at of the files.
type manifests struct {
	servers  []placed[*v1alpha1.MCPServer]
	clients  []placed[*v1alpha1.MCPClient]
	profiles []v1alpha1.MCPSecurityProfile
	policies []v1alpha1.MCPAccessPolicy
	// namespaced are the objects of each namespace.
	namespaced map[string]*namespaced
	// namespaces are the labels of those that are among the files.
	namespaces map[string]map[string]string
	// roles are the rules of Roles and ClusterRoles, by their kinds and names.
	roles     map[string][]rbacv1.PolicyRule
	bindings  []declared.Binding
	workloads []discovery.Workload
}

func newManifests() *manifests {
	return &manifests{namespaced: map[string]*namespaced{}, namespaces: map[string]map[string]string{}, roles: map[string][]rbacv1.PolicyRule{}}
}

// read adds what is in a file, a folder, or standard input.
func (m *manifests) read(in io.Reader, name string) error {
	if name == "-" {
		content, err := io.ReadAll(io.LimitReader(in, mostManifest+1))
		if err != nil {
			return err
		}
		return m.add("", content)
	}
	return filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if path != name && !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) {
			return nil
		}
		content, err := os.ReadFile(path) //nolint:gosec // who runs it names the folder
		if err != nil {
			return err
		}
		return m.add(path, content)
	})
}

// add adds the documents of a file.
func (m *manifests) add(file string, content []byte) error {
	shown := file
	if file == "" {
		shown = "standard input"
	}
	if len(content) > mostManifest {
		return fmt.Errorf("%s is larger than %d MiB", shown, mostManifest>>20)
	}
	for _, d := range documents(content) {
		if err := m.document(place{file, d.line}, d.content); err != nil {
			return fmt.Errorf("%s: the document at line %d: %w", shown, d.line, err)
		}
	}
	return nil
}

// document adds one object, or those of a list; those of other kinds are passed over.
func (m *manifests) document(at place, content []byte) error {
	var kind struct {
		metav1.TypeMeta `json:",inline"`
		Items           json.RawMessage `json:"items"`
	}
	if err := yaml.Unmarshal(content, &kind); err != nil {
		return errors.New("it is no YAML")
	}
	// As kubectl has it, whatever has items is a list.
	if len(kind.Items) > 0 && string(kind.Items) != "null" {
		return m.list(at, kind.TypeMeta, kind.Items)
	}
	group, version, _ := strings.Cut(kind.APIVersion, "/")
	if read := kubernetesKinds[kind.APIVersion+" "+kind.Kind]; read != nil {
		return read(m, content)
	}
	if group != v1alpha1.GroupVersion.Group || !slices.Contains([]string{"MCPServer", "MCPClient", "MCPAccessPolicy", "MCPSecurityProfile"}, kind.Kind) {
		return nil
	}
	if version != v1alpha1.GroupVersion.Version {
		return fmt.Errorf("the version %s of %s is not known; this program knows %s", version, kind.Kind, v1alpha1.GroupVersion.Version)
	}
	switch kind.Kind {
	case "MCPServer":
		server := &v1alpha1.MCPServer{}
		if err := strict(content, server, kind.Kind); err != nil {
			return err
		}
		server.Namespace = namespaceOf(server)
		m.servers = append(m.servers, placed[*v1alpha1.MCPServer]{at, server})
	case "MCPClient":
		client := &v1alpha1.MCPClient{}
		if err := strict(content, client, kind.Kind); err != nil {
			return err
		}
		client.Namespace = namespaceOf(client)
		m.clients = append(m.clients, placed[*v1alpha1.MCPClient]{at, client})
	case "MCPSecurityProfile":
		profile := v1alpha1.MCPSecurityProfile{}
		if err := strict(content, &profile, kind.Kind); err != nil {
			return err
		}
		m.profiles = append(m.profiles, profile)
	case "MCPAccessPolicy":
		policy := v1alpha1.MCPAccessPolicy{}
		if err := strict(content, &policy, kind.Kind); err != nil {
			return err
		}
		policy.Namespace = namespaceOf(&policy)
		m.policies = append(m.policies, policy)
	}
	return nil
}

// list adds the objects of a list. Those that do not say their kind are of the list's, as an MCPServer in an MCPServerList.
func (m *manifests) list(at place, kind metav1.TypeMeta, items []byte) error {
	var all []map[string]any
	if err := json.Unmarshal(items, &all); err != nil {
		return fmt.Errorf("the items of %s are no objects", kind.Kind)
	}
	for i, item := range all {
		if item["kind"] == nil && item["apiVersion"] == nil {
			item["kind"], item["apiVersion"] = strings.TrimSuffix(kind.Kind, "List"), kind.APIVersion
		}
		content, err := json.Marshal(item)
		if err != nil {
			return err
		}
		if err := m.document(at, content); err != nil {
			return fmt.Errorf("item %d: %w", i+1, err)
		}
	}
	return nil
}

func strict(content []byte, object any, kind string) error {
	if err := yaml.UnmarshalStrict(content, object); err != nil {
		return fmt.Errorf("it is no %s: %w", kind, err)
	}
	return nil
}

func namespaceOf(object metav1.Object) string {
	if object.GetNamespace() == "" {
		return metav1.NamespaceDefault
	}
	return object.GetNamespace()
}

// document is one YAML document, and the line where it begins.
type document struct {
	content []byte
	line    int
}

// documents cuts a file at the lines that separate YAML documents.
func documents(content []byte) (all []document) {
	line, begin := 1, 1
	var current bytes.Buffer
	end := func() {
		if len(bytes.TrimSpace(current.Bytes())) > 0 {
			all = append(all, document{bytes.Clone(current.Bytes()), begin})
		}
		current.Reset()
		begin = line + 1
	}
	for l := range bytes.Lines(content) {
		after, separates := bytes.CutPrefix(l, []byte("---"))
		rest := bytes.TrimSpace(after)
		separates = separates && (len(rest) == 0 || len(rest) < len(after) && bytes.ContainsAny(after[:1], " \t"))
		if separates {
			end()
		}
		// A document may begin on the line that separates it.
		if !separates || len(rest) > 0 && rest[0] != '#' {
			if separates {
				begin = line
			}
			current.Write(l)
		}
		line++
	}
	end()
	return all
}
