package wire

import (
	"context"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestMessagesAreWrittenInOrderWithTheirDescriptors(t *testing.T) {
	t.Parallel()
	c, bus := pair(t)
	other := connOn(t, bus)
	fds := numbered(t, 1)
	const count = 3000
	go func() {
		for i := range uint32(count) {
			var e Encoder
			e.Uint32(i)
			h := &Header{Type: TypeSignal, Path: "/", Interface: "a.b", Member: "C", Signature: "u"}
			switch i % 100 {
			case 50:
				dup, err := unix.Dup(fds[0])
				if err != nil {
					t.Error(err)
				}
				c.Send(h, e.Bytes(), []int{dup})
			case 70: // more than the socket takes at once
				h.Signature = "uay"
				e.ByteArray(make([]byte, 500<<10))
				c.QueueShared(h, e.Bytes())
				c.Wake()
			default:
				c.Send(h, e.Bytes(), nil)
			}
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	written := make(chan error, 1)
	go func() { written <- c.Write(ctx) }()
	for i := range uint32(count) {
		m, err := other.Read()
		if err != nil {
			t.Fatal(err)
		}
		var d Decoder
		d.Reset(m)
		if got := d.Uint32(); got != i || m.Serial != i+1 || (len(m.FDs) == 1) != (i%100 == 50) {
			t.Fatalf("message %d: got %d with serial %d and %d descriptors", i, got, m.Serial, len(m.FDs))
		}
		m.Close()
	}
	cancel()
	if err := <-written; err != nil {
		t.Error(err)
	}
}

func TestADescriptorThatCannotBePassedBecomesAnError(t *testing.T) {
	t.Parallel()
	c, bus := pair(t)
	c.Send(&Header{Type: TypeReply, ReplySerial: 8, Destination: ":1.3", Signature: "h"}, []byte{0, 0, 0, 0}, []int{1 << 20})
	c.Send(&Header{Type: TypeReply, ReplySerial: 9, Destination: ":1.3"}, nil, nil)
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	got := map[uint32]Type{}
	for other := connOn(t, bus); len(got) < 2; {
		m, err := other.Read()
		if err != nil {
			t.Fatal(err)
		}
		got[m.ReplySerial] = m.Type
	}
	if diff := cmp.Diff(map[uint32]Type{8: TypeError, 9: TypeReply}, got); diff != "" {
		t.Error(diff)
	}
}

func TestQueuedDescriptorsAreClosedWithTheConnection(t *testing.T) {
	t.Parallel()
	c, _ := pair(t)
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	h := &Header{Type: TypeReply, ReplySerial: 8, Signature: "h"}
	dup, err := unix.Dup(ends[1])
	if err != nil {
		t.Fatal(err)
	}
	c.Send(h, []byte{0, 0, 0, 0}, []int{ends[1]})
	c.Close()
	c.Send(h, []byte{0, 0, 0, 0}, []int{dup})
	if n, err := unix.Read(ends[0], make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("the pipe is still open: %d, %v", n, err)
	}
}

func TestWaitingForRoomEnds(t *testing.T) {
	t.Parallel()
	c, bus := pair(t)
	for range 2 * crowded / MaxBody {
		c.Send(&Header{Type: TypeSignal}, make([]byte, MaxBody), nil)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go c.Write(ctx)
	go io.Copy(io.Discard, bus)
	c.Wait()

	for range 4 * crowded / MaxBody {
		c.Send(&Header{Type: TypeSignal}, make([]byte, MaxBody), nil)
	}
	closed := make(chan error)
	go func() { closed <- c.Close() }()
	c.Wait()
	<-closed
}
