package stdio

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxLine bounds a line of a child, in bytes: the largest answer that the gate passes on.
	maxLine = 16 << 20
	// readBuffer is what a child's reader has while nothing happens.
	readBuffer = 16 << 10
	// writeTimeout is how long a child may leave its input unread.
	writeTimeout = 30 * time.Second
	// stopGrace is how long a child has after its input was closed, and again after SIGTERM.
	stopGrace = 3 * time.Second
)

var errLine = errors.New("a line that is longer than 16 MiB")

// process is one running child: its pipes, and its end. It has a process group of its own, which ends as a whole.
type process struct {
	pid   int
	write sync.Mutex
	in    *os.File
	out   *os.File
	err   *os.File
	// ended is closed when the process has been waited for.
	ended chan struct{}
	stop  sync.Once
}

// start starts a command. Of the environment of this process it gets all.
func start(command []string) (*process, error) {
	var files []*os.File
	pipe := func() (r, w *os.File, err error) {
		if r, w, err = os.Pipe(); err == nil {
			files = append(files, r, w)
		}
		return r, w, err
	}
	inR, inW, err1 := pipe()
	outR, outW, err2 := pipe()
	errR, errW, err3 := pipe()
	cmd := exec.Command(command[0], command[1:]...) //nolint:gosec // it is the server that the MCPServer names
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err := errors.Join(err1, err2, err3)
	if err == nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = inR, outW, errW
		err = cmd.Start()
	}
	if err != nil {
		for _, f := range files {
			_ = f.Close()
		}
		return nil, fmt.Errorf("starting %s: %w", command[0], err)
	}
	for _, f := range []*os.File{inR, outW, errW} {
		_ = f.Close()
	}
	p := &process{pid: cmd.Process.Pid, in: inW, out: outR, err: errR, ended: make(chan struct{})}
	go func() {
		// The group is ended before its leader is reaped: until then nobody else can have its number.
		for {
			if err := unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		p.signal(syscall.SIGKILL)
		_ = cmd.Wait()
		close(p.ended)
		// What is in the pipes is still read; what somebody who left the group holds open is not waited for.
		_ = p.out.SetReadDeadline(time.Now().Add(time.Second))
		_ = p.err.SetReadDeadline(time.Now().Add(time.Second))
		_ = p.in.Close()
	}()
	return p, nil
}

func (p *process) signal(s syscall.Signal) { _ = syscall.Kill(-p.pid, s) }

// send writes one line. An error is the end of the child: nobody knows how much of the line it has.
func (p *process) send(line []byte) error {
	p.write.Lock()
	defer p.write.Unlock()
	_ = p.in.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := p.in.Write(append(line, '\n'))
	return err
}

// lines calls take for each line, until the end of the output, an endless line, or an error of take. The line is take's to keep.
func (p *process) lines(take func(line []byte) error) error {
	defer func() { _ = p.out.Close() }()
	r := bufio.NewReaderSize(p.out, readBuffer)
	var long []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(long)+len(part) > maxLine {
			return errLine
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, part...)
			continue
		}
		line := append(long, part...)
		long = nil
		if err != nil {
			// A last line without its end may be cut.
			return err
		}
		if err := take(trim(line)); err != nil {
			return err
		}
	}
}

// trim cuts the end of a line, and a carriage return before it.
func trim(line []byte) []byte {
	for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
		line = line[:len(line)-1]
	}
	return line
}

// end ends the process: its input is closed, then it is asked to, then it is made to. It returns when it has ended.
func (p *process) end() {
	p.stop.Do(func() {
		// A write that hangs must not keep the end from coming.
		_ = p.in.SetWriteDeadline(time.Now())
		_ = p.in.Close()
		for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			select {
			case <-p.ended:
				return
			case <-time.After(stopGrace):
				p.signal(s)
			}
		}
	})
	<-p.ended
}

// kill ends the process at once.
func (p *process) kill() {
	select {
	case <-p.ended:
		// Its number may be somebody else's by now.
	default:
		p.signal(syscall.SIGKILL)
	}
	p.end()
}
