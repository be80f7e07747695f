package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// process is a program that the demo runs for a while.
type process struct {
	name string
	log  string
	done chan struct{}
}

// start runs a program in the background, until ctx ends, with its output in a file of the folder.
func start(ctx context.Context, folder, name string, environment []string, program string, arguments ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(folder, name+".log"), done: make(chan struct{})}
	output, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, program, arguments...)
	command.Env = environment
	command.Stdout, command.Stderr = output, output
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 5 * time.Second
	if err := command.Start(); err != nil {
		output.Close()
		return nil, err
	}
	go func() {
		_ = command.Wait()
		output.Close()
		close(p.done)
	}()
	return p, nil
}

// listens waits until something accepts connections at the address.
func (p *process) listens(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		connected, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
		if err == nil {
			return connected.Close()
		}
		select {
		case <-p.done:
			return p.complain("it ended")
		case <-ctx.Done():
			return p.complain("nothing listens on " + address)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (p *process) complain(what string) error {
	output, err := os.ReadFile(p.log)
	if err != nil {
		return err
	}
	if len(output) > 2000 {
		output = output[len(output)-2000:]
	}
	return fmt.Errorf("%s: %s. Its output: %s", p.name, what, output)
}

// freePort returns a port of the loopback address that nobody uses.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	address, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return 0, errors.New("not a TCP listener")
	}
	return address.Port, nil
}

// goBuild compiles commands of this module into a folder.
func goBuild(ctx context.Context, folder string, packages ...string) error {
	command := exec.CommandContext(ctx, "go", append([]string{"build", "-trimpath", "-ldflags=-s -w", "-o", folder + string(os.PathSeparator)}, packages...)...)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w: %s", err, output)
	}
	return nil
}
