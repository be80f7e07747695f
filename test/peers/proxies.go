package peers

import (
	"embed"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/template"
)

//go:embed config
var files embed.FS

// write fills a file of the folder config in.
func (s Setup) write(name, address string) error {
	text, err := template.ParseFS(files, "config/"+name)
	if err != nil {
		return err
	}
	out, err := os.Create(s.file(name))
	if err != nil {
		return err
	}
	defer out.Close()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	return text.Execute(out, struct {
		Setup
		Address, Host, Port, Path string
		Buffer                    int
	}{s, address, host, port, Path, s.BodyBytes + 4096})
}

// lines writes a file of sorted lines.
func (s Setup) lines(name string, lines []string) error {
	slices.Sort(lines)
	return os.WriteFile(s.file(name), []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

func haproxy(s Setup, address string) (*exec.Cmd, error) {
	var grants, keys []string
	for _, grant := range s.Grants {
		grants = append(grants, grant.Client+" "+grant.Tool)
	}
	for key, client := range s.Keys {
		keys = append(keys, key+" "+client)
	}
	if err := s.lines("grants", grants); err != nil {
		return nil, err
	}
	if err := s.lines("keys", keys); err != nil {
		return nil, err
	}
	if err := os.WriteFile(s.file("token.pem"), []byte(s.TokenKey), 0o600); err != nil {
		return nil, err
	}
	if err := s.write("haproxy.cfg", address); err != nil {
		return nil, err
	}
	program, err := installed("haproxy")
	return exec.Command(program, "-db", "-f", s.file("haproxy.cfg")), err
}

func nginx(s Setup, address string) (*exec.Cmd, error) {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(s.Keys)) {
		keys = append(keys, fmt.Sprintf("%q %q;", "Bearer "+key, s.Keys[key]))
	}
	if err := s.lines("keys", keys); err != nil {
		return nil, err
	}
	if err := s.write("nginx.conf", address); err != nil {
		return nil, err
	}
	program, err := installed("nginx")
	return exec.Command(program, "-p", s.Directory, "-e", "stderr", "-c", s.file("nginx.conf")), err
}

// installed is a program of Debian's, whose folder is not in everybody's path.
func installed(name string) (string, error) {
	if path, err := exec.LookPath("/usr/sbin/" + name); err == nil {
		return path, nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not installed: run hack/packages.sh", name)
	}
	return path, nil
}
