package machd_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/pkg/machd"
)

func TestOutcomesComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	zero, seven := 0, 7
	for _, want := range []machd.Outcome{
		{Exit: &zero}, {Exit: &seven}, {Signal: 9}, {Failure: machd.FailureNotFound, Message: "there is no /bin/x"},
	} {
		got, err := machd.ParseOutcome(want.Encode())
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("it came back otherwise: %v\n%s", err, diff)
		}
	}
	long := machd.Outcome{Failure: machd.FailureLost, Message: strings.Repeat("\x01", 10*machd.MaxPacket)}
	if n := len(long.Encode()); n > machd.MaxPacket {
		t.Errorf("a long message makes a packet of %d bytes", n)
	}
}

func TestBadPacketsAreRefused(t *testing.T) {
	t.Parallel()
	for _, packet := range []string{"", "{}", "[]", `{"exit":"1"}`, `{"signal":`, "\x00"} {
		if o, err := machd.ParseOutcome([]byte(packet)); err == nil {
			t.Errorf("outcome %q is %+v", packet, o)
		}
	}
	for _, packet := range []string{"", "{}", `{"signal":0}`, `{"signal":65}`, `{"signal":-1}`, `{"signal":1.5}`} {
		if o, err := machd.ParseOrder([]byte(packet)); err == nil {
			t.Errorf("order %q is %+v", packet, o)
		}
	}
}

func FuzzParseOrder(f *testing.F) {
	f.Add(machd.Order{Signal: 15}.Encode())
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, packet []byte) {
		o, err := machd.ParseOrder(packet)
		if err == nil && (o.Signal < 1 || o.Signal > 64) {
			t.Errorf("%q is signal %d", packet, o.Signal)
		}
	})
}
