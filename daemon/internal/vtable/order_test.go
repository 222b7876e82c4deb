package vtable_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/wire"
)

func TestCallsOfOneSenderRunInOrder(t *testing.T) {
	t.Parallel()
	s := serve(t)
	p := s.peer(t)
	const calls = 5000
	go func() {
		for i := range uint32(calls) {
			h, body := with(t, method("Count"), i)
			p.Send(h, body, nil)
			if i%64 == 63 || i == calls-1 {
				if err := p.Flush(); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	for i := range uint32(calls) {
		m := p.receive()
		var d wire.Decoder
		d.Reset(m)
		if got := d.Uint32(); m.Type != wire.TypeReply || got != i {
			t.Fatalf("reply %d: got %d, %s", i, got, m.ErrorName)
		}
		if got := <-s.order; got != i {
			t.Fatalf("call %d ran as number %d", got, i)
		}
	}
}

func TestSignalsAndRepliesLeaveInTheOrderTheyWereMade(t *testing.T) {
	t.Parallel()
	s := serve(t)
	p := s.peer(t)
	rule, body := marshal(t, "type='signal',interface='"+worldName+"'")
	if m := busCall(p, "AddMatch", rule, body); m.Type != wire.TypeReply {
		t.Fatal(m.ErrorName)
	}
	const calls = 500
	var want, got []string
	for i := range uint32(calls) {
		h, body := with(t, method("Announce"), i)
		p.Send(h, body, nil)
		want = append(want, fmt.Sprint("signal ", i), fmt.Sprint("reply ", i))
	}
	go p.Flush()
	replies := 0
	for len(got) < len(want) {
		m := p.receive()
		if m.Type != wire.TypeSignal {
			got = append(got, fmt.Sprint("reply ", replies))
			replies++
			continue
		}
		var d wire.Decoder
		d.Reset(m)
		got = append(got, fmt.Sprint("signal ", d.Uint32()))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func busCall(p *peer, member, signature string, body []byte) *wire.Message {
	h := &wire.Header{
		Type: wire.TypeCall, Destination: wire.BusName, Path: wire.BusPath, Interface: wire.BusInterface,
		Member: member, Signature: signature,
	}
	p.send(h, body)
	for {
		m, err := p.Read()
		if err != nil {
			p.t.Fatal(err)
		}
		if m.ReplySerial == h.Serial {
			return m
		}
	}
}

func TestASlowCallHoldsNobody(t *testing.T) {
	t.Parallel()
	s := serve(t)
	hoarder, other := s.peer(t), s.peer(t)
	var blocks []*wire.Header
	for range 40 {
		h := method("Block")
		hoarder.Send(h, nil, nil)
		blocks = append(blocks, h)
	}
	if m := hoarder.call(method("Nothing"), nil); m.Type != wire.TypeReply {
		t.Error("a fast call of the same sender was refused:", m.ErrorName)
	}
	eventually(t, "16 slow calls run", func() bool { return s.blocked.Load() == 16 })

	if m := other.call(method("Nothing"), nil); m.Type != wire.TypeReply {
		t.Error("a fast call of another sender was refused:", m.ErrorName)
	}
	other.send(method("Block"), nil)
	eventually(t, "another sender's slow call runs", func() bool { return s.blocked.Load() == 17 })

	close(s.gate)
	for range blocks {
		if m := hoarder.receive(); m.Type != wire.TypeReply {
			t.Error(m.ErrorName)
		}
	}
}

// Not parallel: it measures the memory of the process.
func TestManyCallsInFlightTakeLittle(t *testing.T) {
	s := serve(t)
	p := s.peer(t)
	other := s.peer(t)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()

	const calls = 5000
	for range calls {
		p.Send(method("Block"), nil, nil)
	}
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for ; refused < calls-4096; refused++ {
		if m := p.receive(); m.ErrorName != errorNS+"LimitsExceeded" {
			t.Fatalf("got %q", m.ErrorName)
		}
	}
	if m := other.call(method("Nothing"), nil); m.Type != wire.TypeReply {
		t.Error(m.ErrorName)
	}
	if n := runtime.NumGoroutine() - goroutines; n > 32 {
		t.Errorf("%d goroutines were started", n)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	close(s.gate)
	for range calls - refused {
		if m := p.receive(); m.Type != wire.TypeReply {
			t.Fatal(m.ErrorName)
		}
	}
}

// A caller that does not read makes its replies pile up in the bus, and then
// in us, unless we stop making them.
func TestRepliesThatTheBusDoesNotTakeDoNotPileUp(t *testing.T) {
	s := serve(t)
	p := s.peer(t)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const calls = 200 // with 1 MiB in each reply
	for range calls {
		h, body := with(t, method("Text"), "big")
		p.Send(h, body, nil)
	}
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for range calls {
		m := p.receive()
		if m.Type != wire.TypeReply {
			t.Fatal(m.ErrorName)
		}
	}
	runtime.ReadMemStats(&after)
	t.Logf("%d replies in %v", calls, time.Since(start))
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 64<<20 {
		t.Errorf("the heap grew by %d MB", grown>>20)
	}
}
