package definitions

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/gates"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
	"github.com/bartizan-dev/bartizan/internal/inventory"
)

func item(t *testing.T, kind inventory.Kind, raw string) inventory.Item {
	t.Helper()
	made, err := inventory.NewItem(kind, []byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// pods are gates that say what they are told to, by address; a nil list cannot be asked.
type pods struct {
	lists map[string][]inventory.Item
	tools map[string]*gatestatus.Tools
	full  int
}

func (p *pods) Read(_ context.Context, all []gates.Gate) (answers []gates.Answer) {
	for _, g := range all {
		if p.tools[g.Address] == nil && p.lists[g.Address] == nil {
			answers = append(answers, gates.Answer{Err: errors.New("silent")})
			continue
		}
		tools := p.tools[g.Address]
		if tools == nil {
			tools = &gatestatus.Tools{Digest: inventory.Digest(p.lists[g.Address])}
		}
		answers = append(answers, gates.Answer{Status: gatestatus.Status{Tools: tools}})
	}
	return answers
}

func (p *pods) Inventory(_ context.Context, g gates.Gate) (gatestatus.Inventory, error) {
	p.full++
	return gatestatus.Inventory{Digest: inventory.Digest(p.lists[g.Address]), Items: p.lists[g.Address]}, nil
}

// TestAsk: the inventory is the sum of what all gates say, and asked for in full only where it is not known.
func TestAsk(t *testing.T) {
	a, b, c := item(t, inventory.Tool, `{"name":"a"}`), item(t, inventory.Tool, `{"name":"b"}`), item(t, inventory.Tool, `{"name":"b","title":"x"}`)
	one, two := inventory.Sort([]inventory.Item{a, b}), inventory.Sort([]inventory.Item{a, c})
	known := inventory.NewDocument(one, nil, inventory.Document{})
	for name, tc := range map[string]struct {
		pods       pods
		before     inventory.Document
		want, full int
		known      bool
	}{
		"two alike":                      {pods: pods{lists: map[string][]inventory.Item{"1": one, "2": one}}, want: 2, full: 1, known: true},
		"two that differ":                {pods: pods{lists: map[string][]inventory.Item{"1": one, "2": two}}, want: 3, full: 2, known: true},
		"what is known is not asked for": {pods: pods{lists: map[string][]inventory.Item{"1": one, "2": one}}, before: known, want: 2, known: true},
		"one is silent":                  {pods: pods{lists: map[string][]inventory.Item{"1": one}}, before: known},
		"one is silent at the beginning": {pods: pods{lists: map[string][]inventory.Item{"1": one}}, want: 2, full: 1, known: true},
		"not listed yet":                 {pods: pods{tools: map[string]*gatestatus.Tools{"1": {Problem: "listing-refused"}, "2": {}}}},
	} {
		o := &observed{before: tc.before}
		r := &Reconciler{Gates: &tc.pods, Lists: &tc.pods}
		r.ask(t.Context(), o, []gates.Gate{{Address: "1"}, {Address: "2"}})
		if o.known != tc.known || len(o.items) != tc.want || tc.pods.full != tc.full {
			t.Errorf("%s: known %v, %d items, %d asked in full", name, o.known, len(o.items), tc.pods.full)
		}
	}
}

func TestSummarize(t *testing.T) {
	get := item(t, inventory.Tool, `{"name":"get_x","annotations":{"readOnlyHint":true}}`)
	exec := item(t, inventory.Tool, `{"name":"pods_exec","description":"runs a command"}`)
	prompt, resource := item(t, inventory.Prompt, `{"name":"p"}`), item(t, inventory.Resource, `{"uri":"a://b"}`)
	all := inventory.Sort([]inventory.Item{get, exec, prompt, resource})
	pin := func(items ...inventory.Item) (pins []v1alpha1.Pin) {
		for _, i := range items {
			pins = append(pins, v1alpha1.Pin{Kind: v1alpha1.DefinitionKind(i.Kind), Name: i.Name, SHA256: i.SHA256})
		}
		return pins
	}
	listed := []gatestatus.Status{{Tools: &gatestatus.Tools{Digest: inventory.Digest(all)}}}
	stale := pin(get)
	stale[0].SHA256 = strings.Repeat("0", 64)
	for name, tc := range map[string]struct {
		mode             v1alpha1.PinningMode
		pins             []v1alpha1.Pin
		statuses         []gatestatus.Status
		nothing          bool
		status           metav1.ConditionStatus
		reason, says     string
		pinned, unpinned int32
		quarantined      int
	}{
		"off":           {mode: v1alpha1.PinningOff, statuses: listed, unpinned: 3},
		"all pinned":    {mode: v1alpha1.PinningEnforce, pins: pin(get, exec, prompt), statuses: listed, status: metav1.ConditionTrue, reason: reasonPinned, pinned: 3},
		"one changed":   {mode: v1alpha1.PinningEnforce, pins: append(stale, pin(exec, prompt)...), statuses: listed, status: metav1.ConditionFalse, reason: reasonQuarantined, says: "Tool get_x (changed)", pinned: 2, unpinned: 1, quarantined: 1},
		"reported only": {mode: v1alpha1.PinningAudit, pins: pin(get), statuses: listed, status: metav1.ConditionFalse, reason: reasonUnpinned, says: "Prompt p (unknown), Tool pods_exec (unknown)", pinned: 1, unpinned: 2},
		"unusable": {mode: v1alpha1.PinningEnforce, pins: pin(get, exec, prompt), status: metav1.ConditionFalse, reason: reasonQuarantined, says: "pods_exec (unusable)", pinned: 3, quarantined: 1,
			statuses: []gatestatus.Status{{Tools: &gatestatus.Tools{Digest: inventory.Digest(all), Unapproved: []gatestatus.Unapproved{{Kind: exec.Kind, Name: exec.Name, SHA256: exec.SHA256, Reason: inventory.Unusable}}}}}},
		"not listed": {mode: v1alpha1.PinningEnforce, nothing: true, statuses: []gatestatus.Status{{Tools: &gatestatus.Tools{Problem: "listing-late"}}}, status: metav1.ConditionUnknown, reason: reasonNotListed, says: "listing-late"},
	} {
		server := &v1alpha1.MCPServer{Spec: v1alpha1.MCPServerSpec{Tools: &v1alpha1.Tools{Pinning: tc.mode, Pins: tc.pins}}}
		server.Name = "s"
		o := &observed{server: server, now: time.Now(), ready: 1, statuses: tc.statuses, pins: inventory.NewPins(manifests.Tools(server).Pins)}
		document := inventory.Document{}
		if !tc.nothing {
			document, o.known = inventory.NewDocument(all, o.pins, document), true
		}
		s := summarize(o, document)
		if (s.condition == nil) != (tc.status == "") || s.condition != nil && (s.condition.Status != tc.status || s.condition.Reason != tc.reason || !strings.Contains(s.condition.Message, tc.says)) {
			t.Errorf("%s: %+v", name, s.condition)
		}
		if tc.nothing {
			if s.tools != nil {
				t.Errorf("%s: %+v", name, s.tools)
			}
			continue
		}
		if *s.tools.Pinned != tc.pinned || *s.tools.Unpinned != tc.unpinned || len(s.tools.Quarantined) != tc.quarantined || *s.tools.Tools != 2 ||
			*s.tools.Prompts != 1 || *s.tools.Resources != 1 || *s.tools.Templates != 0 || fmt.Sprint(s.tools.Risky) != "[pods_exec]" {
			t.Errorf("%s: %+v", name, s.tools)
		}
		server.Status.Tools = s.tools
		o.now = o.now.Add(time.Hour)
		if again := summarize(o, document); !again.tools.ChangedAt.Equal(s.tools.ChangedAt) {
			t.Errorf("%s: what has not changed changes the status", name)
		}
	}
}

// TestAgain: people wait for what is in quarantine, not for the rest.
func TestAgain(t *testing.T) {
	enforced := &v1alpha1.MCPServer{Spec: v1alpha1.MCPServerSpec{Tools: &v1alpha1.Tools{Pinning: v1alpha1.PinningEnforce}}}
	for want, o := range map[time.Duration]*observed{
		askRarely: {server: &v1alpha1.MCPServer{}, ready: 1, known: true}, askPinned: {server: enforced, ready: 1, known: true}, askSoon: {server: enforced, ready: 1, young: true},
	} {
		if got := o.again(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestConfigMap(t *testing.T) {
	server := &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "n", UID: "u"}}
	c, err := configMap(server, inventory.NewDocument([]inventory.Item{item(t, inventory.Tool, `{"name":"a","description":"<b> & c"}`)}, nil, inventory.Document{}))
	if err != nil || *c.Name != "s-inventory" || *c.OwnerReferences[0].UID != "u" {
		t.Fatal(c, err)
	}
	if d, err := inventory.ParseDocument(c.Data[inventory.DocumentKey]); err != nil || len(d.Present) != 1 {
		t.Errorf("%+v %v", d, err)
	}
}
