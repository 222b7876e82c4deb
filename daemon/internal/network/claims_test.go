package network

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/machd/machd/pkg/machd"
)

func TestPortsAreRecordedAsRanges(t *testing.T) {
	for texts, want := range map[string]string{
		"80":                 `["80/tcp"]`,
		"8000-8002:80-82":    `["8000-8002:80-82/tcp"]`,
		"[::1]:70-72/udp 73": `["[::1]:70-72/udp","73/tcp"]`,
		"80 82 81":           `["80/tcp","82/tcp","81/tcp"]`,
		"65534-65535:1-2 10": `["65534-65535:1-2/tcp","10/tcp"]`,
	} {
		all := portList(ports(t, strings.Fields(texts)...))
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
	text, err := json.Marshal(portList(many))
	var again portList
	if err != nil || len(text) > 200 || json.Unmarshal(text, &again) != nil || len(again) != len(many) {
		t.Errorf("%d ports are written as %d bytes, and read as %d: %v", len(many), len(text), len(again), err)
	}
}
