package doctor

import (
	"testing"

	"github.com/machd/machd/pkg/machd"
)

// What the kernel says of a packet that came in by eth0 and was dropped.
var sampleEvent = []byte("\x01\x00\x00\x00\b\x00\x0f\x00\x00\x00\x00\x02\b\x00\x04\x00\x00\x00\x00\x03\b\x00\x06\x00<\xef\xad\xd6" +
	"\x09\x00\x02\x00left\x00\x00\x00\x00\x11\x00\x01\x00machd-doctor\x00\x00\x00\x00\x0c\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00\x0e" +
	"\x0c\x00\x05\x00\b\x00\x01\x00\x00\x00\x00\x00\b\x00\x0c\x00\x00\x00\x00\x03" +
	"\x18\x00\b\x00E\x00\x00,\x00\x01\x00\x00?\x06\xa8N\xc0\xa8\a\xfe\n\xd5\x00\x02" +
	"\x18\x00\t\x00a\xac\x00Pe\xab\x1b/\x00\x00\x00\x00`\x02 \x00\xc1\xd2\x00\x00")

func TestParseEvent(t *testing.T) {
	t.Parallel()
	e, ok := parseEvent(sampleEvent)
	if !ok || e.table != "machd-doctor" || e.chain != stageLeft || e.handle != 14 || e.kind != traceRule || e.verdict != verdictDrop || e.out != 3 {
		t.Errorf("got %+v, %t", e, ok)
	}
	f, ok := flowOf(e.network, e.transport)
	if want := "192.168.7.254:25004 10.213.0.2:80"; !ok || f.from.String()+" "+f.to.String() != want {
		t.Errorf("got %+v, %t, want %s", f, ok, want)
	}
}

func FuzzParseEvent(f *testing.F) {
	f.Add(sampleEvent)
	f.Fuzz(func(t *testing.T, data []byte) {
		e, ok := parseEvent(data)
		if ok && e.chain == "" {
			t.Error("an event without a chain")
		}
		flowOf(e.network, e.transport)
	})
}

func TestListening(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		line     string
		protocol machd.Protocol
		want     string
	}{
		{"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0", machd.TCP, "127.0.0.1:8080"},
		{"   0: 0100007F:1F90 0100007F:0000 01 00000000:00000000 00:00000000 00000000 0", machd.TCP, ""},
		{"   1: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 0", machd.UDP, "[::1]:53"},
		{"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt", machd.TCP, ""},
	} {
		at, ok := listening(tt.line, tt.protocol)
		if ok != (tt.want != "") || ok && at.String() != tt.want {
			t.Errorf("%q: %v, %t, want %q", tt.line, at, ok, tt.want)
		}
	}
}

func FuzzListening(f *testing.F) {
	f.Add("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0")
	f.Fuzz(func(t *testing.T, line string) {
		listening(line, machd.TCP)
	})
}
