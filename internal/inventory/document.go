package inventory

import (
	"encoding/json"
	"errors"
)

// DocumentKey is the key of the Document in the ConfigMap that ConfigMapName names.
const DocumentKey = "inventory.json"

// ConfigMapName is the name of the ConfigMap with what a server offers, in the server's namespace.
func ConfigMapName(server string) string { return server + "-inventory" }

const (
	// maxPresent and maxAccepted bound the definitions in a document, in bytes: a ConfigMap holds 1 MiB. Beyond, hashes are left.
	maxPresent  = 512 << 10
	maxAccepted = 256 << 10
	// maxListed bounds the items in a document.
	maxListed = 2048
)

// Document is what a server offers and what was approved of it, as the operator keeps it for people and tools.
type Document struct {
	// Digest names the whole of what the server offers.
	Digest string `json:"digest"`
	// Present is what the server offers now. A name has more than one definition where replicas or eras of the protocol differ.
	Present []Item `json:"present"`
	// Approved are the definitions that pins name, as far as they were ever seen: what a present one differs from.
	Approved []Item `json:"approved,omitempty"`
	// LeftOut is the number of items of which not even the hash is here.
	LeftOut int `json:"leftOut,omitempty"`
}

// NewDocument is the document of sorted items. Definitions of pins are remembered from the document before.
func NewDocument(items []Item, pins Pins, before Document) Document {
	d := Document{Digest: Digest(items)}
	seen := map[string]bool{}
	var approved []Item
	for _, from := range [][]Item{items, before.Approved, before.Present} {
		for _, item := range from {
			if item.Kind.Pinnable() && len(item.Definition) > 0 && pins.Has(item.Key(), item.SHA256) && !seen[item.SHA256] {
				seen[item.SHA256] = true
				approved = append(approved, item)
			}
		}
	}
	d.Approved = fit(Sort(approved), maxAccepted)
	if len(items) > maxListed {
		d.LeftOut, items = len(items)-maxListed, items[:maxListed]
	}
	d.Present = fit(items, maxPresent)
	return d
}

// fit leaves out definitions beyond a number of bytes, the names always counted.
func fit(items []Item, most int) (kept []Item) {
	for _, item := range items {
		if most -= len(item.Definition) + len(item.Name) + 128; most < 0 {
			item.Definition = nil
		}
		kept = append(kept, item)
	}
	return kept
}

// ParseDocument reads a document, and checks that each definition is the one that its hash says.
func ParseDocument(text string) (Document, error) {
	var d Document
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return Document{}, errors.New("the inventory is not JSON of the expected shape")
	}
	for _, list := range [][]Item{d.Present, d.Approved} {
		for i := range list {
			if len(list[i].Definition) == 0 {
				continue
			}
			item, err := NewItem(list[i].Kind, list[i].Definition)
			if err != nil || item.SHA256 != list[i].SHA256 || item.Name != list[i].Name {
				return Document{}, errors.New("the inventory has a definition that is not the one that its hash says")
			}
			list[i] = item
		}
	}
	return d, nil
}

// Finding is one present definition as the pins judge it.
type Finding struct {
	Item
	Reason Reason
	Risks  []Risk
	// Differences say how the definition became another than the approved one, where that is known.
	Differences []string
}

// Judge says of each present definition whether a pin names it, what is risky about it, and how it changed.
func (d Document) Judge(pins Pins) []Finding {
	approved := map[Key][]Item{}
	for _, item := range d.Approved {
		if pins.Has(item.Key(), item.SHA256) {
			approved[item.Key()] = append(approved[item.Key()], item)
		}
	}
	findings := make([]Finding, 0, len(d.Present))
	for _, item := range d.Present {
		f := Finding{Item: item, Reason: pins.Judge(item), Risks: Risks(item)}
		if was := approved[item.Key()]; f.Reason == Changed && len(was) > 0 && len(item.Definition) > 0 && len(was[len(was)-1].Definition) > 0 {
			f.Differences = Diff(was[len(was)-1].Definition, item.Definition)
		}
		findings = append(findings, f)
	}
	return findings
}
