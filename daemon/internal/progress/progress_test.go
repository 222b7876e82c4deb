package progress_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/progress"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// pipe returns both ends of a pipe, as its maker has them.
func pipe(t *testing.T) (reader *os.File, writer int) {
	t.Helper()
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	reader = os.NewFile(uintptr(ends[0]), "pipe")
	t.Cleanup(func() { reader.Close(); unix.Close(ends[1]) })
	return reader, ends[1]
}

// open opens the pipe as the daemon does.
func open(t *testing.T, writer int) progress.Pipe {
	t.Helper()
	p, err := progress.OpenPipe(writer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestListenerIsToldWhatIsNew(t *testing.T) {
	t.Parallel()
	reader, writer := pipe(t)
	ctx, stop := progress.Watch(t.Context(), open(t, writer).Tell)
	m := progress.Of(ctx)
	m.Add(10, 1)
	lines := bufio.NewScanner(reader)
	next := func() (p machd.Progress) {
		t.Helper()
		if !lines.Scan() {
			t.Fatal("there is no line")
		}
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	if got, want := next(), (machd.Progress{Bytes: 10, Files: 1}); got != want {
		t.Errorf("told %+v, want %+v", got, want)
	}
	time.Sleep(300 * time.Millisecond) // nothing is new
	m.Add(5, 0)
	m.Expect(20, 2)
	if got, want := next(), (machd.Progress{Bytes: 15, Files: 1, TotalBytes: 20, TotalFiles: 2}); got != want {
		t.Errorf("told %+v, want %+v", got, want)
	}
	m.Add(5, 1)
	stop()
	if got, want := next(), (machd.Progress{Bytes: 20, Files: 2, TotalBytes: 20, TotalFiles: 2}); got != want {
		t.Errorf("told at last %+v, want %+v", got, want)
	}
}

func TestNobodyWaitsForWhoDoesNotRead(t *testing.T) {
	t.Parallel()
	_, writer := pipe(t)
	if _, err := unix.FcntlInt(uintptr(writer), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(writer, make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := progress.Watch(t.Context(), open(t, writer).Tell)
	progress.Of(ctx).Add(1, 1)
	time.Sleep(250 * time.Millisecond)
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(10 * time.Second):
		t.Fatal("it waits for a reader")
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended for %v, but nobody has left", err)
	}
}

func TestLeavingCallsItOff(t *testing.T) {
	t.Parallel()
	reader, writer := pipe(t)
	ctx, stop := progress.Watch(t.Context(), open(t, writer).Tell)
	defer stop()
	reader.Close()
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on")
	}
	if err := context.Cause(ctx); !errors.Is(err, progress.ErrLeft) {
		t.Errorf("it ended for %v", err)
	}
}

// Whoever gave the pipe may fill it between the look whether there is room and the
// write, and has writes to the end that he gave block.
func TestWhoFillsThePipeHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	reader, writer := pipe(t)
	if _, err := unix.FcntlInt(uintptr(writer), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	filler, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", writer), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(filler)
	p := open(t, writer)
	var told atomic.Uint64
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-over:
				return
			default:
			}
			if err := p.Tell(progress.Report{Bytes: told.Add(1)}, true); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	content, source := make([]byte, 4096), int(reader.Fd())
	for range 2000 {
		_, _ = unix.Write(filler, content)
		_, _ = unix.Read(source, content)
		_, _ = unix.Write(filler, content) // there was room for a moment only
		before := told.Load()
		for deadline := time.Now().Add(10 * time.Second); told.Load() < before+2; runtime.Gosched() {
			if time.Now().After(deadline) {
				_, _ = unix.Read(source, content)
				t.Fatal("it waits for room")
			}
		}
	}
	close(over)
	<-done
}

func TestOnlyAPipeIsTaken(t *testing.T) {
	t.Parallel()
	reader, writer := pipe(t)
	open(t, writer)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for name, f := range map[string]*os.File{"a reading end": reader, "a device": null} {
		if _, err := progress.OpenPipe(int(f.Fd())); !errors.Is(err, machine1.ErrInvalidArgs) {
			t.Errorf("%s: %v, want %v", name, err, machine1.ErrInvalidArgs)
		}
	}
}

func TestNamedPipeThatNobodyReads(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	both, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(path, os.O_WRONLY, 0)
	both.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	if _, err := progress.OpenPipe(int(writer.Fd())); !errors.Is(err, progress.ErrLeft) {
		t.Errorf("got %v, want %v", err, progress.ErrLeft)
	}
}
