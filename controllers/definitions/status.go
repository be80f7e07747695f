package definitions

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	ac "github.com/bartizan-dev/bartizan/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/conditions"
	"github.com/bartizan-dev/bartizan/internal/inventory"
)

// statusOwner is the field owner of what this controller writes into the status of MCPServers.
const statusOwner = "bartizan-definitions"

// Reasons of the condition DefinitionsPinned.
const (
	reasonPinned      = "Pinned"
	reasonUnpinned    = "DefinitionNotPinned"
	reasonQuarantined = "DefinitionQuarantined"
	reasonNotListed   = "NotListed"
	reasonNoGate      = "NoReadyGate"
)

// mostNamed bounds the names in the status.
const mostNamed = 32

// summary is this controller's part of a status.
type summary struct {
	tools     *v1alpha1.ToolsStatus
	condition *metav1.Condition
}

// summarize is pure.
func summarize(o *observed, document inventory.Document) summary {
	s := summary{}
	if document.Digest != "" {
		s.tools = o.tools(document)
	}
	mode := pinning(o.server)
	if mode == v1alpha1.PinningOff {
		return s
	}
	var c metav1.Condition
	problem := o.problem()
	switch unapproved := o.unapproved(document); {
	case len(unapproved) > 0 && mode == v1alpha1.PinningEnforce:
		c = conditions.False(v1alpha1.ConditionDefinitionsPinned, reasonQuarantined, fmt.Sprintf(
			"nobody may use what no pin in spec.tools.pins names: %s; see ConfigMap %s, and pin what you approve", list(unapproved), inventory.ConfigMapName(o.server.Name)))
	case len(unapproved) > 0:
		c = conditions.False(v1alpha1.ConditionDefinitionsPinned, reasonUnpinned, fmt.Sprintf(
			"no pin in spec.tools.pins names %s; see ConfigMap %s, and pin what you approve", list(unapproved), inventory.ConfigMapName(o.server.Name)))
	case o.ready == 0:
		c = metav1.Condition{Type: v1alpha1.ConditionDefinitionsPinned, Status: metav1.ConditionUnknown, Reason: reasonNoGate, Message: "no gate is ready"}
	case problem != "":
		c = metav1.Condition{Type: v1alpha1.ConditionDefinitionsPinned, Status: metav1.ConditionUnknown, Reason: reasonNotListed,
			Message: "a gate cannot list its server (" + problem + "); the logs of the gate and of the server say more"}
	case !o.known && document.Digest == "":
		c = metav1.Condition{Type: v1alpha1.ConditionDefinitionsPinned, Status: metav1.ConditionUnknown, Reason: reasonNotListed, Message: "the gates have not listed the server yet"}
	default:
		c = conditions.True(v1alpha1.ConditionDefinitionsPinned, reasonPinned, "all that the server offers is what was pinned")
	}
	s.condition = &c
	return s
}

// problem is why a gate has no listing; empty: all have one.
func (o *observed) problem() string {
	for _, status := range o.statuses {
		if status.Tools.Problem != "" {
			return status.Tools.Problem
		}
	}
	return ""
}

// unapproved are the definitions that no pin names, or that a gate cannot use.
func (o *observed) unapproved(document inventory.Document) (all []v1alpha1.UnpinnedDefinition) {
	add := func(kind inventory.Kind, name, sum string, reason inventory.Reason) {
		u := v1alpha1.UnpinnedDefinition{Kind: v1alpha1.DefinitionKind(kind), Name: inventory.Clean(name, 256), SHA256: sum, Reason: string(reason)}
		if !slices.ContainsFunc(all, func(known v1alpha1.UnpinnedDefinition) bool {
			return known.Kind == u.Kind && known.Name == u.Name && known.SHA256 == u.SHA256
		}) {
			all = append(all, u)
		}
	}
	for _, item := range document.Present {
		if reason := o.pins.Judge(item); reason != inventory.Approved {
			add(item.Kind, item.Name, item.SHA256, reason)
		}
	}
	for _, status := range o.statuses {
		for _, u := range status.Tools.Unapproved {
			if u.Reason == inventory.Unusable {
				add(u.Kind, u.Name, u.SHA256, u.Reason)
			}
		}
	}
	return all
}

func list(all []v1alpha1.UnpinnedDefinition) string {
	var names []string
	for _, u := range all[:min(len(all), 5)] {
		names = append(names, fmt.Sprintf("%s %s (%s)", u.Kind, inventory.Clean(u.Name, 64), strings.ToLower(u.Reason)))
	}
	if len(all) > len(names) {
		return fmt.Sprintf("%s and %d more", strings.Join(names, ", "), len(all)-len(names))
	}
	return strings.Join(names, ", ")
}

func (o *observed) tools(document inventory.Document) *v1alpha1.ToolsStatus {
	counts := map[inventory.Kind]int32{}
	var pinned, unpinned int32
	t := &v1alpha1.ToolsStatus{Digest: document.Digest, ConfigMapName: inventory.ConfigMapName(o.server.Name)}
	for _, item := range document.Present {
		counts[item.Kind]++
		if !item.Kind.Pinnable() {
			continue
		}
		if o.pins.Judge(item) == inventory.Approved {
			pinned++
		} else {
			unpinned++
		}
		risks := inventory.Risks(item)
		if name := inventory.Clean(item.Name, 256); len(risks) > 0 && len(t.Risky) < mostNamed && !slices.Contains(t.Risky, name) {
			t.Risky = append(t.Risky, name)
		}
	}
	n := func(n int32) *int32 { return &n }
	t.Tools, t.Prompts, t.Resources, t.Templates = n(counts[inventory.Tool]), n(counts[inventory.Prompt]), n(counts[inventory.Resource]), n(counts[inventory.Template])
	t.Pinned, t.Unpinned = &pinned, &unpinned
	if pinning(o.server) == v1alpha1.PinningEnforce {
		unapproved := o.unapproved(document)
		t.Quarantined = unapproved[:min(len(unapproved), mostNamed)]
	}
	now := metav1.NewTime(o.now.Truncate(1e9))
	t.ChangedAt = &now
	if old := o.server.Status.Tools; old != nil && old.Digest == t.Digest && old.ChangedAt != nil {
		t.ChangedAt = old.ChangedAt
	}
	return t
}

// writeStatus writes this controller's part of the status if it differs, and tells about transitions.
func (r *Reconciler) writeStatus(ctx context.Context, o *observed, s summary) error {
	before := o.server.Status
	old := meta.FindStatusCondition(before.Conditions, v1alpha1.ConditionDefinitionsPinned)
	var after []metav1.Condition
	if s.condition != nil {
		after = conditions.Set(before.Conditions, o.server.Generation, metav1.NewTime(o.now), *s.condition)
	}
	if s.tools == nil {
		s.tools = before.Tools // what was known stands
	}
	same := (old == nil) == (len(after) == 0) && (old == nil || len(after) == 0 || equality.Semantic.DeepEqual(*old, after[0]))
	if same && equality.Semantic.DeepEqual(before.Tools, s.tools) {
		return nil
	}
	status := ac.MCPServerStatus()
	if s.tools != nil {
		text, err := json.Marshal(s.tools)
		if err != nil {
			return err
		}
		status.WithTools(ac.ToolsStatus())
		if err := json.Unmarshal(text, status.Tools); err != nil {
			return err
		}
	}
	if len(after) > 0 {
		status.WithConditions(conditions.Configurations(after)...)
	}
	desired := ac.MCPServer(o.server.Name, o.server.Namespace).WithUID(o.server.UID).WithStatus(status)
	if err := r.Client.Status().Apply(ctx, desired, client.FieldOwner(statusOwner), client.ForceOwnership); err != nil {
		return client.IgnoreNotFound(err)
	}
	r.tell(o, old, after)
	return nil
}

// tell emits an event when other definitions are not approved than before.
func (r *Reconciler) tell(o *observed, old *metav1.Condition, after []metav1.Condition) {
	if len(after) == 0 {
		return
	}
	c := after[0]
	switch {
	case c.Status == metav1.ConditionFalse && (old == nil || old.Status != c.Status || old.Message != c.Message):
		// The message is in the action's place, too, by its hash: events with the same reason and action would be one, with the first one's text.
		r.Events.Eventf(o.server, nil, corev1.EventTypeWarning, c.Reason, "Inventory"+digest(c.Message), "%s", note(c.Message))
	case c.Status == metav1.ConditionTrue && old != nil && old.Status == metav1.ConditionFalse:
		r.Events.Eventf(o.server, nil, corev1.EventTypeNormal, c.Reason, "Inventory", "%s", c.Message)
	}
}

// digest tells texts apart.
func digest(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		return ""
	}
	sum, err := inventory.Hash(quoted)
	if err != nil {
		return ""
	}
	return sum[:8]
}

// note bounds the text of an event: the API refuses more than 1024 characters.
func note(text string) string {
	if runes := []rune(text); len(runes) > 1000 {
		return string(runes[:1000]) + "…"
	}
	return text
}
