package stdio

import (
	"net"
	"os"
	"syscall"
)

// peers lets only connections through that no process of a child has made. In a pod the gate is in another container, whose
// processes this one does not see; a child is not. So a server that can be talked into connecting to a socket cannot speak
// for another caller.
type peers struct {
	net.Listener
	bridge *Bridge
}

// Accept returns the next connection of the gate.
func (l peers) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if !descends(peer(conn), os.Getpid()) {
			return conn, nil
		}
		_ = conn.Close()
		l.bridge.refused.Add(1)
		l.bridge.log.rare("a connection of a child to the bridge was refused")
	}
}

// peer is the process at the other end, 0 for one that cannot be seen from here, -1 when it is not known.
func peer(conn net.Conn) int {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return -1
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return -1
	}
	pid := -1
	_ = raw.Control(func(fd uintptr) {
		if c, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			pid = int(c.Pid)
		}
	})
	return pid
}

// descends says whether a process comes from another one, itself left out. What is not known does.
func descends(pid, from int) bool {
	if pid < 0 {
		return true
	}
	for at := pid; at > 0 && at != from; {
		one, ok := look(at)
		if !ok {
			// It has ended since. In a container everything that can be seen comes from the first process.
			return from == 1
		}
		if at = one.parent; at == from {
			return true
		}
	}
	return false
}
