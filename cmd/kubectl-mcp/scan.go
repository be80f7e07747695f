package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/posture"
	"github.com/bartizan-dev/bartizan/internal/postureview"
	"github.com/bartizan-dev/bartizan/internal/profile"
)

func (p *plugin) scanCommand() *cobra.Command {
	var format, failOn string
	var profiles []string
	cmd := &cobra.Command{
		Use:   "scan FILE...",
		Short: "Evaluate manifests of MCPServers before they are applied, for pipelines",
		Long: `Evaluate manifests of MCPServers before they are applied, by the same controls as a server that runs. What only a cluster or an attack
shows is unknown here.

A folder stands for its files with the ends .yaml, .yml and .json, a list for its items, and - for standard input. What is beside an MCPServer is
looked at, too: MCPAccessPolicies and MCPClients, ConfigMaps that it names, NetworkPolicies and Services that lead to its pods, roles that are bound to its
ServiceAccount, workloads that are MCP servers without a gate, and the ConfigMap <name>-inventory of the operator, which tells what the server
offers. What is wrong among them fails; that the cluster has nothing else, they cannot show. Objects of other kinds are passed over. No cluster is asked.

MCPServers and MCPClients are also judged by MCPSecurityProfiles, as admission would: by all those of --profile, whatever they select and
also while they are a dry run, and by those among the files that select the namespace, where the Namespace is among the files, too.

It ends with 1 when a control fails that is at least as severe as --fail-on, where being below a profile is high, and with 2 when a file
cannot be read as a manifest.`,
		Example: `  kubectl mcp scan deploy/
  kubectl mcp scan deploy/ --profile platform/production-profile.yaml
  kustomize build overlays/production | kubectl mcp scan - --output sarif > posture.sarif`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, names []string) error {
			severities := []string{string(posture.Medium), string(posture.High), string(posture.Critical)}
			least := slices.Index(severities, failOn)
			if least < 0 && failOn != "never" {
				return fmt.Errorf("--fail-on: %q is none of %s and never", failOn, strings.Join(severities, ", "))
			}
			found, asked := newManifests(), newManifests()
			for _, name := range names {
				if err := found.read(p.in, name); err != nil {
					return err
				}
			}
			for _, name := range profiles {
				before := len(asked.profiles)
				if err := asked.read(p.in, name); err != nil {
					return fmt.Errorf("--profile: %w", err)
				}
				if len(asked.profiles) == before {
					return fmt.Errorf("--profile: there is no MCPSecurityProfile in %s", name)
				}
			}
			if len(found.servers)+len(found.clients) == 0 {
				fmt.Fprintln(p.err, "no MCPServer found in", strings.Join(names, ", "))
			}
			all := p.evaluate(found, asked.profiles)
			if err := p.show(all, format); err != nil {
				return err
			}
			for _, s := range all {
				for _, c := range s.Failing() {
					if failOn != "never" && c.Result == postureview.Fail && slices.Index(severities, c.Severity) >= least {
						return errFound
					}
				}
			}
			return nil
		},
	}
	outputFlag(cmd, &format)
	cmd.Flags().StringVar(&failOn, "fail-on", string(posture.Medium), "the least severity that makes it end with 1: medium, high, critical or never")
	cmd.Flags().StringSliceVar(&profiles, "profile", nil, "a `file` with an MCPSecurityProfile that everything is judged by; may be given again")
	return cmd
}

// evaluate judges the MCPServers, and those MCPClients that are below a profile.
func (p *plugin) evaluate(m *manifests, asked []v1alpha1.MCPSecurityProfile) (all []postureview.Server) {
	floors := map[string][]profile.Floor{}
	floorsOf := func(namespace string) []profile.Floor {
		if _, known := floors[namespace]; !known {
			floors[namespace] = p.floors(m, asked, namespace)
		}
		return floors[namespace]
	}
	for _, s := range m.servers {
		snapshot := declared.Snapshot(s.object, p.now())
		floors := floorsOf(s.object.Namespace)
		p.besides(snapshot, m, s.object, floors)
		var below []profile.Violation
		for _, floor := range floors {
			declared.Under(snapshot, s.object, floor)
			below = append(below, floor.Server(s.object)...)
		}
		shown := postureview.FromReport(s.object.Namespace, s.object.Name, posture.Evaluate(snapshot))
		shown.File, shown.Line = s.File, s.Line
		shown.Judge(below)
		all = append(all, shown)
	}
	for _, c := range m.clients {
		var below []profile.Violation
		for _, floor := range floorsOf(c.object.Namespace) {
			below = append(below, floor.Client(c.object)...)
		}
		if len(below) > 0 {
			shown := postureview.Server{Kind: "MCPClient", Namespace: c.object.Namespace, Name: c.object.Name, File: c.File, Line: c.Line}
			shown.Judge(below)
			all = append(all, shown)
		}
	}
	return all
}

// floors are those of a namespace: each profile that was asked for, and what those among the files ask for together.
func (p *plugin) floors(m *manifests, asked []v1alpha1.MCPSecurityProfile, namespace string) (all []profile.Floor) {
	named := map[string]bool{}
	for i := range asked {
		named[asked[i].Name] = true
		all = append(all, profile.Only(&asked[i]))
	}
	var beside []v1alpha1.MCPSecurityProfile
	for i := range m.profiles {
		if !named[m.profiles[i].Name] {
			beside = append(beside, m.profiles[i])
		}
	}
	labels, known := m.namespaces[namespace]
	if !known {
		labels = map[string]string{corev1.LabelMetadataName: namespace}
		for i := range beside {
			if b := &beside[i]; profile.Enforced(b) && asksLabels(b.Spec.NamespaceSelector) && !profile.Selects(b, labels) {
				fmt.Fprintf(p.err, "MCPSecurityProfile %s is left out for namespace %s, whose labels are not known: scan the Namespace, too, or give the profile's file to --profile\n", b.Name, namespace)
			}
		}
	}
	return append(all, profile.Of(beside, labels))
}

// asksLabels says whether a selector asks for labels that only the Namespace itself tells: all but its name.
func asksLabels(s *v1alpha1.NamespaceSelector) bool {
	if s == nil {
		return false
	}
	for key := range s.MatchLabels {
		if key != corev1.LabelMetadataName {
			return true
		}
	}
	return slices.ContainsFunc(s.MatchExpressions, func(r v1alpha1.NamespaceRequirement) bool { return r.Key != corev1.LabelMetadataName })
}
