package inventory

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// lazy is a pattern that is compiled when it is first used: every gate's program has it, and most never use it.
func lazy(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

// Risk is what a tool can do that somebody should think about before it is granted.
type Risk string

// The risks.
const (
	// Writes: it changes something, or does not say that it only reads.
	Writes Risk = "write"
	// Shell: it runs commands or code that the caller gives.
	Shell Risk = "shell"
	// File: it reaches files.
	File Risk = "file"
	// Network: it connects to where the caller says.
	Network Risk = "network"
	// Sensitive: it gives raw commands, or files that the caller names freely.
	Sensitive Risk = "sensitive"
)

// tool is what is read of a tool's definition.
type tool struct {
	Name, Title, Description string
	Annotations              struct {
		ReadOnlyHint, DestructiveHint *bool
	}
	InputSchema struct {
		Properties map[string]struct {
			Type        any
			Description string
			Enum        []any
			Const       any
			Format      string
		}
	}
}

var (
	// readers are first words of names that only read, writers words that change something.
	readers = words("get list read search find fetch query describe show view count browse lookup check inspect explain diff log logs status stat tail head top watch info tree preview validate")
	writers = words("create write update delete remove set put add edit move rename insert drop kill stop start restart push commit merge apply patch replace upload send post install uninstall scale cordon drain fork deploy trigger publish grant revoke erase truncate modify append close assign enable disable run exec execute")
	// shells, files and networks are words of names.
	shells   = words("shell bash sh zsh powershell cmd exec terminal subprocess eval repl ssh console")
	files    = words("file files filesystem directory directories folder folders dir fs path paths")
	networks = words("fetch http https url urls curl wget webhook crawl scrape browser navigate download proxy dial connect socket ping request")
	// commands, paths and places are words of parameters' names.
	commands = words("command commands cmd script code shell argv")
	paths    = words("path paths file files filename filepath directory dir folder")
	places   = words("url urls uri host hostname endpoint address webhook")
	// bounded are parameters that say that a path is within something that is not the server's own disk.
	bounded = words("owner repo repository bucket project branch drive workspace")

	shellText     = lazy(`(?i)\b((shell|bash|terminal|system|arbitrary|raw) (command|script|code)|(run|execute|evaluate)s? (a |an |any |the |arbitrary |given )*([a-z]+ )?(command|script|code)s?\b|powershell|python code|javascript code|command line)`)
	sensitiveText = lazy(`(?i)(/etc/|passwd|private key|ssh key|environment variable|\benv(ironment)?\b|any file|arbitrary file|secrets? of|credentials? of)`)
	fileText      = lazy(`(?i)\b(files?|director(y|ies)|file ?system|folders?)\b`)
	networkText   = lazy(`(?i)\b(fetch(es)?|download(s)?|open(s)?|connects?|requests?|navigates?)\b.{0,40}\b(urls?|web ?pages?|websites?|internet|connections?|hosts?)\b`)
)

func words(list string) map[string]bool {
	all := map[string]bool{}
	for _, w := range strings.Fields(list) {
		all[w] = true
	}
	return all
}

// split takes a name apart: pods_exec, podsExec and pods-exec are pods and exec.
func split(name string) (all []string) {
	var word []rune
	end := func() {
		if len(word) > 0 {
			all = append(all, strings.ToLower(string(word)))
			word = word[:0]
		}
	}
	for i, r := range name {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			end()
			continue
		case unicode.IsUpper(r) && i > 0 && len(word) > 0 && !unicode.IsUpper(word[len(word)-1]):
			end()
		}
		word = append(word, r)
	}
	end()
	return all
}

func some(of []string, in map[string]bool) bool {
	return slices.ContainsFunc(of, func(w string) bool { return in[w] })
}

// Risks are those of a tool, as far as its annotations, name, description and parameters tell, sorted. It errs on the side of
// caution: a tool that does not say that it only reads, and whose name does not, writes; hints of a server that say less than
// its names are not believed.
func Risks(item Item) []Risk {
	var t tool
	if item.Kind != Tool {
		return nil
	}
	if json.Unmarshal(item.Definition, &t) != nil {
		// What it has is not of the kind that the specification says; what is left is its name.
		t = tool{Name: item.Name}
	}
	name := split(t.Name)
	about := t.Title + "\n" + t.Description
	var command, path, place, within bool
	for parameter, p := range t.InputSchema.Properties {
		if len(p.Enum) > 0 || p.Const != nil {
			continue
		}
		parts := split(parameter)
		// A number or a flag is no command, path or place.
		if kind, is := p.Type.(string); is && kind != "string" && kind != "array" && kind != "object" {
			continue
		}
		command = command || some(parts, commands)
		path = path || some(parts, paths)
		place = place || some(parts, places) || p.Format == "uri"
		within = within || some(parts, bounded)
	}
	risks := map[Risk]bool{}
	hint := t.Annotations
	reads := len(name) > 0 && (readers[name[0]] || readers[name[len(name)-1]]) && !some(name, writers)
	says := hint.ReadOnlyHint != nil && *hint.ReadOnlyHint
	risks[Writes] = hint.DestructiveHint != nil && *hint.DestructiveHint && !says || hint.ReadOnlyHint != nil && !*hint.ReadOnlyHint ||
		some(name, writers) && !says || !reads && !says || says && slices.ContainsFunc(name[:min(1, len(name))], func(w string) bool { return writers[w] })
	risks[Shell] = some(name, shells) || command && (some(name, words("run execute invoke eval")) || shellText().MatchString(about)) || shellText().MatchString(t.Name+" "+firstSentence(about))
	risks[File] = some(name, files) || path && fileText().MatchString(about)
	risks[Network] = some(name, networks) && (place || networkText().MatchString(about)) || place && networkText().MatchString(about)
	risks[Sensitive] = risks[Shell] || risks[File] && path && !within || sensitiveText().MatchString(firstSentence(about)) || some(name, words("env environment"))
	var all []Risk
	for _, r := range []Risk{File, Network, Sensitive, Shell, Writes} {
		if risks[r] {
			all = append(all, r)
		}
	}
	return all
}

func firstSentence(text string) string {
	text = strings.TrimSpace(text)
	if i := strings.IndexAny(text, ".\n"); i > 0 {
		return text[:i]
	}
	return text
}

// Has says whether risks have one.
func Has(risks []Risk, risk Risk) bool { return slices.Contains(risks, risk) }
