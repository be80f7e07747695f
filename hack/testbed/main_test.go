package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

func TestCommandLine(t *testing.T) {
	for _, test := range []struct {
		name    string
		args    []string
		out, no string // what it prints, or what the error says
	}{
		{name: "help", args: []string{"--help"}, out: "testbed up"},
		{name: "a command's help", args: []string{"up", "--help"}, out: "--only control-plane"},
		{name: "unknown command", args: []string{"start"}, no: `no command "start"`},
		{name: "unknown flag", args: []string{"up", "--fast"}, no: "--help"},
		{name: "unknown mode", args: []string{"up", "--only", "etcd"}, no: "control-plane"},
		{name: "exec without a command", args: []string{"exec"}, no: "exec needs a command"},
		{name: "load-image without a file", args: []string{"load-image"}, no: "archive"},
		{name: "nothing runs", args: []string{"kubeconfig"}, no: "start one with up"},
		{name: "status of nothing", args: []string{"status"}, no: "start one with up"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("XDG_CACHE_HOME", t.TempDir())
			var out bytes.Buffer
			err := run(context.Background(), test.args, &out)
			switch {
			case test.no == "" && err != nil:
				t.Fatal(err)
			case test.no != "" && (err == nil || !strings.Contains(err.Error(), test.no)):
				t.Fatalf("error %v", err)
			case !strings.Contains(out.String(), test.out):
				t.Errorf("it says %q", out.String())
			}
		})
	}
}
