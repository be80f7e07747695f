package gate

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/bartizan-dev/bartizan/internal/authproxy/config"
)

// serves names the process of the server that listens now; empty where nobody looks for another one, or it is not known.
func (g *Gate) serves(c *config.Generation) string {
	if g.options.ListInterval == 0 {
		return ""
	}
	is, err := process(g.address(c))
	if err != nil {
		return ""
	}
	return short(is)
}

// stillServes says whether the process that began a session is there. A server that counts its sessions begins anew with its
// process: the id of one would then be that of another caller's.
func (g *Gate) stillServes(began string, c *config.Generation) bool {
	return began == "" || began == short(g.lister.Process()) || began == g.serves(c)
}

func short(process string) string {
	sum := sha256.Sum256([]byte(process))
	return hex.EncodeToString(sum[:8])
}
