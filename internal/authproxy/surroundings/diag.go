package surroundings

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
)

// The kernel's interface to sockets, sock_diag(7), as in its include/uapi/linux/sock_diag.h and inet_diag.h.
const (
	netlinkSockDiag    = 4
	sockDiagByFamily   = 20
	requestLength      = 56 // inet_diag_req_v2
	answerLength       = 72 // inet_diag_msg
	dumpInterrupted    = 0x10
	answerPatience     = 1 // second
	answerBufferLength = 32 << 10
)

var errAnswer = errors.New("not an answer as the kernel gives it")

// ask asks the kernel for the listening sockets, which every process may.
func ask() ([]Listener, error) {
	socket, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, netlinkSockDiag)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer func() { _ = syscall.Close(socket) }()
	// The answer is there before the question returns: who waits longer would wait for ever.
	if err := syscall.SetsockoptTimeval(socket, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Sec: answerPatience}); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	var all []Listener
	buffer := make([]byte, answerBufferLength)
	for _, family := range []uint8{syscall.AF_INET, syscall.AF_INET6} {
		if err := syscall.Sendto(socket, question(family), 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
			return nil, os.NewSyscallError("sendto", err)
		}
		for done := false; !done; {
			n, from, err := syscall.Recvfrom(socket, buffer, 0)
			if err != nil {
				return nil, os.NewSyscallError("recvfrom", err)
			}
			if kernel, ok := from.(*syscall.SockaddrNetlink); !ok || kernel.Pid != 0 {
				continue // it is from another process
			}
			var found []Listener
			if found, done, err = ParseAnswer(buffer[:n]); err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
	}
	return all, nil
}

// question asks for all listening TCP sockets of an address family.
func question(family uint8) []byte {
	q := binary.NativeEndian.AppendUint32(nil, syscall.SizeofNlMsghdr+requestLength)
	q = binary.NativeEndian.AppendUint16(q, sockDiagByFamily)
	q = binary.NativeEndian.AppendUint16(q, syscall.NLM_F_REQUEST|syscall.NLM_F_DUMP)
	q = append(q, make([]byte, 8)...) // a sequence number and a sender: there is one question at a time, and one who asks
	q = append(q, family, syscall.IPPROTO_TCP, 0, 0)
	q = binary.NativeEndian.AppendUint32(q, 1<<stateListen)
	return append(q, make([]byte, syscall.SizeofNlMsghdr+requestLength-len(q))...) // of any address
}

// ParseAnswer returns the listening sockets of one part of the kernel's answer, and whether it is the last.
func ParseAnswer(part []byte) (found []Listener, done bool, err error) {
	messages, err := syscall.ParseNetlinkMessage(part)
	if err != nil || len(messages) == 0 {
		return nil, false, errAnswer
	}
	for _, m := range messages {
		switch {
		case m.Header.Flags&dumpInterrupted != 0:
			return nil, false, errors.New("the sockets changed while the kernel listed them")
		case m.Header.Type == syscall.NLMSG_DONE || m.Header.Type == syscall.NLMSG_ERROR:
			if len(m.Data) < 4 {
				return nil, false, errAnswer
			}
			if code := int32(binary.NativeEndian.Uint32(m.Data)); code != 0 || m.Header.Type == syscall.NLMSG_ERROR {
				return nil, false, fmt.Errorf("the kernel does not list sockets: %w", syscall.Errno(-code))
			}
			return found, true, nil
		case m.Header.Type != sockDiagByFamily || len(m.Data) < answerLength:
			return nil, false, errAnswer
		}
		address := m.Data[8:24]
		switch m.Data[0] {
		case syscall.AF_INET:
			address = address[:4]
		case syscall.AF_INET6:
		default:
			return nil, false, errAnswer
		}
		if m.Data[1] != stateListen {
			continue
		}
		parsed, _ := netip.AddrFromSlice(address)
		found = append(found, Listener{
			Address: netip.AddrPortFrom(parsed.Unmap(), binary.BigEndian.Uint16(m.Data[4:])),
			Inode:   binary.NativeEndian.Uint32(m.Data[68:]),
		})
	}
	return found, false, nil
}
