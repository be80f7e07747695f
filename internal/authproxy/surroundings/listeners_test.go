package surroundings

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
)

// TestBothWaysAgree: what the kernel answers is what its tables say, for each kind of address, and connections are not in it.
func TestBothWaysAgree(t *testing.T) {
	for network, address := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0", "tcp": ":0"} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		open, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close()
		port := netip.MustParseAddrPort(l.Addr().String()).Port()
		others := func(l Listener) bool { return l.Address.Port() != port }
		asked, err := ask()
		if err != nil {
			t.Fatal(err)
		}
		read, err := readTables()
		if err != nil {
			t.Fatal(err)
		}
		asked, read = slices.DeleteFunc(asked, others), slices.DeleteFunc(read, others)
		if len(asked) != 1 || !slices.Equal(asked, read) || asked[0].Inode == 0 {
			t.Errorf("%s: the kernel answers %v, its tables say %v", network, asked, read)
		}
	}
}

// part is a part of an answer: a message of a type.
func part(kind, flags uint16, data []byte) []byte {
	m := binary.NativeEndian.AppendUint32(nil, uint32(syscall.SizeofNlMsghdr+len(data)))
	m = binary.NativeEndian.AppendUint16(m, kind)
	m = binary.NativeEndian.AppendUint16(m, flags)
	return append(append(m, make([]byte, 8)...), data...)
}

// socket is an inet_diag_msg.
func socket(family, state uint8) []byte {
	m := make([]byte, answerLength)
	m[0], m[1] = family, state
	binary.BigEndian.PutUint16(m[4:], 8080)
	copy(m[8:], netip.MustParseAddr("10.0.0.7").AsSlice())
	binary.NativeEndian.PutUint32(m[68:], 77)
	return m
}

func TestParseAnswer(t *testing.T) {
	const refused = 0xffffffff - uint32(syscall.ENOENT) + 1 // -ENOENT
	number := func(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
	listening, end := part(sockDiagByFamily, 0, socket(syscall.AF_INET, stateListen)), part(syscall.NLMSG_DONE, 0, number(0))
	want := Listener{Address: netip.MustParseAddrPort("10.0.0.7:8080"), Inode: 77}
	found, done, err := ParseAnswer(slices.Concat(listening, part(sockDiagByFamily, 0, socket(syscall.AF_INET, 1)), end))
	if err != nil || !done || len(found) != 1 || found[0] != want {
		t.Error(found, done, err)
	}
	if found, done, err = ParseAnswer(listening); err != nil || done || len(found) != 1 {
		t.Error(found, done, err)
	}
	for name, bad := range map[string][]byte{
		"nothing":         nil,
		"cut off":         listening[:40],
		"a short socket":  part(sockDiagByFamily, 0, make([]byte, answerLength-4)),
		"another family":  part(sockDiagByFamily, 0, socket(syscall.AF_UNIX, stateListen)),
		"another message": part(99, 0, socket(syscall.AF_INET, stateListen)),
		"interrupted":     part(sockDiagByFamily, dumpInterrupted, socket(syscall.AF_INET, stateListen)),
		"an error":        part(syscall.NLMSG_ERROR, 0, number(refused)),
		"an error of 0":   part(syscall.NLMSG_ERROR, 0, number(0)),
		"a failed end":    part(syscall.NLMSG_DONE, 0, number(refused)),
		"a short end":     part(syscall.NLMSG_DONE, 0, nil),
	} {
		if found, done, err := ParseAnswer(bad); err == nil {
			t.Errorf("%s: %v, %t", name, found, done)
		}
	}
	if _, _, err := ParseAnswer(part(syscall.NLMSG_ERROR, 0, number(refused))); !errors.Is(err, syscall.ENOENT) {
		t.Error(err)
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add(part(sockDiagByFamily, 0, socket(syscall.AF_INET, stateListen)))
	f.Add(slices.Concat(part(sockDiagByFamily, 0, socket(syscall.AF_INET6, stateListen)), part(syscall.NLMSG_DONE, 0, make([]byte, 4))))
	f.Fuzz(func(t *testing.T, answer []byte) {
		before := bytes.Clone(answer)
		found, done, err := ParseAnswer(answer)
		if err != nil && (done || found != nil) {
			t.Errorf("%v and %t beside %v", found, done, err)
		}
		for _, l := range found {
			if !l.Address.IsValid() {
				t.Errorf("an invalid address in %v", found)
			}
		}
		if !bytes.Equal(before, answer) {
			t.Error("the answer was changed")
		}
	})
}

func BenchmarkListeners(b *testing.B) {
	for name, way := range map[string]func() ([]Listener, error){"asked": ask, "tables": readTables} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := way(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
