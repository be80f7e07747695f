package gate

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
)

// headFile is the file for the last line of the audit log; empty without one.
func (g *Gate) headFile() string {
	if g.options.DrainSocket == "" {
		return ""
	}
	return filepath.Join(filepath.Dir(g.options.DrainSocket), "audit-head")
}

// knownHeads are the last lines of earlier boots that are known: that of the process before this one in the same pod.
func (g *Gate) knownHeads() []audit.Head {
	text, err := os.ReadFile(g.headFile())
	if err != nil {
		return nil
	}
	var head audit.Head
	if json.Unmarshal(text, &head) != nil || head.Boot == "" || len(head.Hash) != 64 {
		g.say("the last line of the audit log before this boot is not known: its file is damaged")
		return nil
	}
	return []audit.Head{head}
}

// rememberHead writes the last line of the audit log where the next process of the pod finds it.
func (g *Gate) rememberHead(head audit.Head) {
	file := g.headFile()
	if file == "" {
		return
	}
	text, err := json.Marshal(head)
	if err == nil {
		next := file + ".next"
		if err = os.WriteFile(next, text, 0o600); err == nil {
			err = os.Rename(next, file)
		}
	}
	if err != nil {
		g.say("the last line of the audit log cannot be remembered for the next boot", "file", file)
	}
}
