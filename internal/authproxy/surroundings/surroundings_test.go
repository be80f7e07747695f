package surroundings_test

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-dev/bartizan/internal/authproxy/surroundings"
)

const table4 = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 27014 1 0000000000000000 100 0 0 10 0
   1: 00000000:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 27015 1 0000000000000000 100 0 0 10 0
   2: 0A00000A:1F92 0100000A:0050 01 00000000:00000000 00:00000000 00000000     0        0 27016 1 0000000000000000 100 0 0 10 0
`

const table6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:3C53 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   2: 0000000000000000FFFF00000100007F:0051 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   3: 000080FE00000000FF4D0502FEB8B1A2:0052 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
`

func TestForeignListeners(t *testing.T) {
	var all []surroundings.Listener
	for _, table := range []string{table4, table6} {
		found, err := surroundings.Parse(strings.NewReader(table))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	if all[1] != (surroundings.Listener{Address: netip.MustParseAddrPort("0.0.0.0:8081"), Inode: 27015}) {
		t.Errorf("the second is %v", all[1])
	}
	want := []string{"0.0.0.0:8081", "[fe80::205:4dff:a2b1:b8fe]:82"}
	if diff := cmp.Diff(want, surroundings.Foreign(all, []uint16{15443})); diff != "" {
		t.Error(diff)
	}
}

func TestForeignIsBounded(t *testing.T) {
	var many []surroundings.Listener
	for port := range 100 {
		many = append(many, surroundings.Listener{Address: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port+1))})
	}
	if got := surroundings.Foreign(many, nil); len(got) != surroundings.Most {
		t.Errorf("%d listeners reported", len(got))
	}
}

func TestParseRefusesOtherTables(t *testing.T) {
	for name, table := range map[string]string{
		"empty":         "",
		"no header":     strings.SplitN(table4, "\n", 2)[1],
		"cut off":       table4 + " 3: 00000000",
		"not hex":       strings.Replace(table4, "00000000:1F91", "0000000Z:1F91", 1),
		"odd length":    strings.Replace(table4, "00000000:1F91", "0000000000:1F91", 1),
		"port too long": strings.Replace(table4, "00000000:1F91", "00000000:11F91", 1),
		"long line":     table4 + strings.Repeat("x", 1000),
		"no inode":      strings.Replace(table4, " 27015 ", " no ", 1),
	} {
		if got, err := surroundings.Parse(strings.NewReader(table)); err == nil {
			t.Errorf("%s: parsed as %v", name, got)
		}
	}
}

func TestLookSeesARealListener(t *testing.T) {
	listener, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	address := netip.MustParseAddrPort(listener.Addr().String())
	// A machine may have more listeners than are reported: only this one is looked for.
	found, err := surroundings.Listeners()
	others := slices.DeleteFunc(found, func(l surroundings.Listener) bool { return l.Address != address })
	if err != nil || len(others) != 1 {
		t.Fatalf("%v, %v; want %s in it", found, err, address)
	}
	if got := surroundings.Foreign(others, nil); !slices.Equal(got, []string{address.String()}) {
		t.Errorf("Foreign = %v; want %s", got, address)
	}
	if got := surroundings.Foreign(others, []uint16{address.Port()}); len(got) != 0 {
		t.Errorf("Foreign = %v; want the gate's own port not in it", got)
	}
	if _, err := surroundings.Look(nil); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(table4)
	f.Add(table6)
	f.Fuzz(func(t *testing.T, table string) {
		found, err := surroundings.Parse(strings.NewReader(table))
		if err != nil {
			return
		}
		for _, a := range found {
			if !a.Address.IsValid() {
				t.Errorf("an invalid address in %v", found)
			}
		}
	})
}
