package postureview

import (
	"encoding/json"
	"io"
	"path/filepath"
	"slices"

	"github.com/bartizan-dev/bartizan/internal/posture"
)

// The parts of SARIF 2.1.0 that are written (OASIS, sarif-schema-2.1.0.json).
type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool    sarifTool     `json:"tool"`
	Results []sarifResult `json:"results"`
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name           string      `json:"name"`
	InformationURI string      `json:"informationUri"`
	Version        string      `json:"version,omitempty"`
	Rules          []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID                   string        `json:"id"`
	ShortDescription     sarifText     `json:"shortDescription"`
	Help                 sarifText     `json:"help"`
	DefaultConfiguration sarifLevel    `json:"defaultConfiguration"`
	Properties           sarifProperty `json:"properties"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifLevel struct {
	Level string `json:"level"`
}

type sarifProperty struct {
	Tags []string `json:"tags,omitempty"`
	// SecuritySeverity is what code scanning sorts by, as a CVSS score.
	SecuritySeverity string `json:"security-severity"`
}

type sarifResult struct {
	RuleID    string          `json:"ruleId"`
	RuleIndex int             `json:"ruleIndex"`
	Level     string          `json:"level"`
	Message   sarifText       `json:"message"`
	Locations []sarifLocation `json:"locations"`
}

type sarifLocation struct {
	PhysicalLocation *sarifPhysical `json:"physicalLocation,omitempty"`
	LogicalLocations []sarifLogical `json:"logicalLocations"`
}

type sarifPhysical struct {
	ArtifactLocation sarifArtifact `json:"artifactLocation"`
	Region           sarifRegion   `json:"region"`
}

type sarifArtifact struct {
	URI string `json:"uri"`
}

type sarifRegion struct {
	StartLine int `json:"startLine"`
}

type sarifLogical struct {
	FullyQualifiedName string `json:"fullyQualifiedName"`
	Kind               string `json:"kind"`
}

var sarifLevels = map[string]string{string(posture.Critical): "error", string(posture.High): "error", string(posture.Medium): "warning"}

var sarifSeverities = map[string]string{string(posture.Critical): "9.5", string(posture.High): "7.5", string(posture.Medium): "5.0"}

// SARIF writes what fails or holds in part as SARIF 2.1.0, with the whole catalogue as its rules.
func SARIF(out io.Writer, servers []Server, version string) error {
	driver := sarifDriver{Name: "kubectl-mcp", InformationURI: "https://github.com/bartizan-dev/bartizan", Version: version}
	index := map[string]int{}
	for i, c := range posture.Catalogue() {
		index[c.ID] = i
		driver.Rules = append(driver.Rules, sarifRule{
			ID: c.ID, ShortDescription: sarifText{c.Title}, Help: sarifText{c.Remediation},
			DefaultConfiguration: sarifLevel{sarifLevels[string(c.Severity)]},
			Properties:           sarifProperty{Tags: append([]string{"security"}, c.Maps...), SecuritySeverity: sarifSeverities[string(c.Severity)]},
		})
	}
	if slices.ContainsFunc(servers, func(s Server) bool { return len(s.Below) > 0 }) {
		index[BelowProfile] = len(driver.Rules)
		driver.Rules = append(driver.Rules, sarifRule{
			ID: BelowProfile, ShortDescription: sarifText{"The manifest is not below an MCPSecurityProfile"}, Help: sarifText{"Change the field that is named, or ask who owns the profile."},
			DefaultConfiguration: sarifLevel{sarifLevels[string(posture.High)]},
			Properties:           sarifProperty{Tags: []string{"security"}, SecuritySeverity: sarifSeverities[string(posture.High)]},
		})
	}
	results := []sarifResult{}
	for _, s := range servers {
		for _, c := range s.Failing() {
			level := sarifLevels[c.Severity]
			if c.Result == Warn {
				level = "note"
			}
			results = append(results, sarifResult{
				RuleID: c.ID, RuleIndex: index[c.ID], Level: level, Locations: []sarifLocation{s.location()},
				Message: sarifText{s.named() + ": " + c.Reason + ". " + c.Remediation},
			})
		}
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(sarifLog{
		Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0",
		Runs: []sarifRun{{Tool: sarifTool{driver}, Results: results}},
	})
}

func (s Server) location() sarifLocation {
	l := sarifLocation{LogicalLocations: []sarifLogical{{FullyQualifiedName: s.Namespace + "/" + s.Name, Kind: "resource"}}}
	if s.File != "" {
		l.PhysicalLocation = &sarifPhysical{ArtifactLocation: sarifArtifact{filepath.ToSlash(s.File)}, Region: sarifRegion{max(s.Line, 1)}}
	}
	return l
}
