package main

import (
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"
)

// The parts of SPDX 2.3 that are written: https://spdx.github.io/spdx-spec/v2.3/
type (
	spdx struct {
		Version       string         `json:"spdxVersion"`
		DataLicense   string         `json:"dataLicense"`
		ID            string         `json:"SPDXID"`
		Name          string         `json:"name"`
		Namespace     string         `json:"documentNamespace"`
		Creation      creation       `json:"creationInfo"`
		Packages      []part         `json:"packages"`
		Relationships []relationship `json:"relationships"`
	}
	creation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	part struct {
		ID               string      `json:"SPDXID"`
		Name             string      `json:"name"`
		Version          string      `json:"versionInfo"`
		Download         string      `json:"downloadLocation"`
		FilesAnalyzed    bool        `json:"filesAnalyzed"`
		LicenseConcluded string      `json:"licenseConcluded"`
		LicenseDeclared  string      `json:"licenseDeclared"`
		Copyright        string      `json:"copyrightText"`
		Checksums        []checksum  `json:"checksums,omitempty"`
		References       []reference `json:"externalRefs,omitempty"`
	}
	checksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	reference struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	relationship struct {
		Element string `json:"spdxElementId"`
		Type    string `json:"relationshipType"`
		Related string `json:"relatedSpdxElement"`
	}
)

const unknown = "NOASSERTION"

// bills writes a bill of materials for each program, from what the linker wrote into it.
func (r *release) bills(context.Context) error {
	for _, file := range r.files() {
		info, err := buildinfo.ReadFile(file)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		encoded, err := json.MarshalIndent(bill(filepath.Base(file), r.version, fmt.Sprintf("%x", sha256.Sum256(content)), r.made, info), "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(file+".spdx.json", append(encoded, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// bill names a program, the Go that it was built with, and every module in it.
func bill(name, version, digest string, made time.Time, info *debug.BuildInfo) spdx {
	const document, main = "SPDXRef-DOCUMENT", "SPDXRef-program"
	of := func(id, name, version, locator string) part {
		p := part{ID: id, Name: name, Version: version, Download: unknown, LicenseConcluded: unknown, LicenseDeclared: unknown, Copyright: unknown}
		if locator != "" {
			p.References = []reference{{Category: "PACKAGE-MANAGER", Type: "purl", Locator: locator}}
		}
		return p
	}
	program := of(main, name, version, "pkg:golang/"+info.Main.Path+"@v"+version)
	program.LicenseDeclared = "Apache-2.0"
	program.Checksums = []checksum{{Algorithm: "SHA256", Value: digest}}
	b := spdx{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: document, Name: name,
		Namespace:     "https://github.com/bartizan-dev/bartizan/sbom/" + name + "-" + digest,
		Creation:      creation{Created: made.UTC().Format(time.RFC3339), Creators: []string{"Tool: bartizan-release"}},
		Packages:      []part{program, of("SPDXRef-go", "stdlib", strings.TrimPrefix(info.GoVersion, "go"), "pkg:golang/stdlib@"+strings.TrimPrefix(info.GoVersion, "go"))},
		Relationships: []relationship{{document, "DESCRIBES", main}, {main, "CONTAINS", "SPDXRef-go"}},
	}
	for i, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		p := of(fmt.Sprintf("SPDXRef-module-%d", i), module.Path, module.Version, "pkg:golang/"+module.Path+"@"+module.Version)
		b.Packages = append(b.Packages, p)
		b.Relationships = append(b.Relationships, relationship{main, "CONTAINS", p.ID})
	}
	return b
}
