package network

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/machd/machd/pkg/machd"
)

func TestPortsAreRecordedAsRanges(t *testing.T) {
	for texts, want := range map[string]string{
		"80":                 `["80/tcp"]`,
		"8000-8002:80-82":    `["8000-8002:80-82/tcp"]`,
		"[::1]:70-72/udp 73": `["[::1]:70-72/udp","73/tcp"]`,
		"80 82 81":           `["80-81/tcp","82/tcp"]`,
		"80 80 81:80":        `["80/tcp","81:80/tcp"]`,
		"65534-65535:1-2 10": `["65534-65535:1-2/tcp","10/tcp"]`,
	} {
		all := listOf(ports(t, strings.Fields(texts)...))
		text, err := json.Marshal(all)
		if err != nil || string(text) != want {
			t.Errorf("%s is written as %s, %v; want %s", texts, text, err, want)
		}
		var again portList
		if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(again, all) {
			t.Errorf("%s is read as %v, %v", text, again, err)
		}
	}
	var many []machd.Port
	for i := range 5000 {
		many = append(many, machd.Port{Protocol: machd.TCP, Host: uint16(20000 + i), Guest: uint16(20000 + i)})
	}
	text, err := json.Marshal(listOf(many))
	var again portList
	if err != nil || len(text) > 200 || json.Unmarshal(text, &again) != nil || !slices.Equal(again.ports(), many) {
		t.Errorf("%d ports are written as %d bytes, and read as %d: %v", len(many), len(text), again.len(), err)
	}
}

// A list is what a set would be, whatever comes and goes.
func TestPortsComeAndGo(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	list, want := portList(nil), map[machd.Port]bool{}
	for range 20000 {
		p := machd.Port{Protocol: machd.TCP, Host: uint16(65500 + random.IntN(36)), Guest: uint16(80 + random.IntN(2))}
		if random.IntN(8) > 0 {
			p.Guest = p.Host
		}
		before := list.ports()
		kept := list
		if random.IntN(2) == 0 {
			list = list.with(p)
			want[p] = true
		} else {
			var had bool
			if list, had = list.without(p); had != want[p] {
				t.Fatalf("%v was in %v: %v", p, kept, had)
			}
			delete(want, p)
		}
		if !slices.Equal(kept.ports(), before) {
			t.Fatalf("%v has become %v", before, kept.ports())
		}
		got := map[machd.Port]bool{}
		for p := range list.all() {
			got[p] = true
		}
		if list.len() != len(want) || !reflect.DeepEqual(got, want) || list.has(p) != want[p] {
			t.Fatalf("with %v it is %v, want %v", p, list, want)
		}
	}
}
