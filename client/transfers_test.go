package client_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/machine1test"
	"github.com/machd/machd/pkg/machine1"
)

// connectToImportd is connect with a systemd-importd whose transfers take these
// steps.
func connectToImportd(t *testing.T, version string, steps ...string) (*machine1test.World, *client.Client) {
	t.Helper()
	w, c := connect(t)
	if err := w.StartImportd(version); err != nil {
		t.Fatal(err)
	}
	w.Plan(steps...)
	return w, c
}

func wantCalls(t *testing.T, w *machine1test.World, want ...string) {
	t.Helper()
	if got := w.Calls(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got the calls\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestATransferTellsWhatItDoesUntilItIsDone(t *testing.T) {
	t.Parallel()
	w, c := connectToImportd(t, "", "log 30 before the answer", "progress 0.42", "log 29 odd\nmore\n", "progress 2", "progress 1")
	x, err := c.PullTar(t.Context(), "http://server/f40.tar", "f40", client.PullOptions{Verify: client.VerifyNothing, Force: true, KeepDownload: true})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for e, err := range x.Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(e.Progress, " ", e.Priority, " ", e.Line))
	}
	want := "-1 6 before the answer|0.42 0 |-1 5 odd|-1 5 more|1 0 "
	if strings.Join(got, "|") != want {
		t.Errorf("got %q, want %q", strings.Join(got, "|"), want)
	}
	wantCalls(t, w, "PullTarEx http://server/f40.tar f40 machine no 5")
	if err := x.Wait(t.Context()); err != nil {
		t.Errorf("a transfer that is over: %v", err)
	}
}

func TestSeveralTransfersAreToldApart(t *testing.T) {
	t.Parallel()
	w, c := connectToImportd(t, "", "log 27 the first one fails", "wait")
	first, err := c.PullRaw(t.Context(), "http://server/a.raw", "a", client.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.Plan("progress 0.5")
	second, err := c.PullRaw(t.Context(), "http://server/b.raw", "b", client.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range second.Events(t.Context()) {
		if err != nil || e.Line != "" {
			t.Errorf("the second one heard %q, %v", e.Line, err)
		}
	}
	if err := first.Cancel(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := first.Wait(t.Context()); !errors.Is(err, machine1.ErrTransferCanceled) {
		t.Errorf("the first one ended with %v", err)
	}
}

func TestATransferThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		steps []string
		kind  error
		text  string
		lines string
	}{
		{[]string{"log 27 Image 'f40' already exists."}, unix.EEXIST, "Image 'f40' already exists", ""},
		{[]string{"log 30 Exporting", "log 27 Image f40 not found."}, machine1.ErrNoSuchImage, "Image f40 not found", ""},
		{[]string{"log 29 HTTP request to http://s/f40.tar failed with code 404.", "log 27 Failed to retrieve image file. (Wrong URL?)", "log 30 Exiting."},
			machine1.ErrFileNotFound, "Failed to retrieve image file. (Wrong URL?)", "HTTP request to http://s/f40.tar failed with code 404"},
		{[]string{"log 6 tar: Unexpected EOF in archive", "log 27 tar failed with exit status 2."}, nil, "tar failed with exit status 2", "tar: Unexpected EOF in archive"},
		{[]string{"log 6 tar: a: Cannot write: No space left on device\ntar: b: Cannot write: No space left on device",
			"log 6 tar: c: 1\n\ntar: d: 1\ntar: e: 1\n", "log 6 tar: f: 1", "log 6 tar: Exiting", "log 27 tar failed with exit status 2."}, unix.ENOSPC,
			"tar failed with exit status 2: no space left on device",
			"tar: c: 1\ntar: d: 1\ntar: e: 1\ntar: f: 1\ntar: Exiting"},
		{[]string{"log 27 Failed to write file: No space left on device"}, unix.ENOSPC, "Failed to write file: No space left on device", ""},
		{[]string{"log 27 Failed to write to pipe: Broken pipe"}, nil, "Failed to write to pipe: Broken pipe", ""}, // to gpg
		{nil, nil, "systemd-importd does not say why it failed", ""},
	} {
		_, c := connectToImportd(t, "", append(row.steps, "fail")...)
		x, err := c.PullTar(t.Context(), "http://s/f40.tar", "f40", client.PullOptions{})
		if err != nil {
			t.Fatal(err)
		}
		err = x.Wait(t.Context())
		var failed *client.TransferError
		if !errors.As(err, &failed) {
			t.Fatalf("got %v", err)
		}
		if err.Error() != "cannot pull http://s/f40.tar: "+row.text || strings.Join(failed.Lines, "\n") != row.lines {
			t.Errorf("got %q and %q, want %q and %q", err, failed.Lines, row.text, row.lines)
		}
		if kind := errors.Unwrap(failed); kind != row.kind {
			t.Errorf("%q is of kind %v, want %v", err, kind, row.kind)
		}
	}
}

func TestAFileIsHandedToImportdAndItsPositionTellsHowFarItIs(t *testing.T) {
	t.Parallel()
	w, c := connectToImportd(t, "", "read", "progress 1", "wait")
	file := filepath.Join(t.TempDir(), "f40.tar")
	if err := os.WriteFile(file, make([]byte, 10<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(1<<10, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	x, err := c.ImportTar(t.Context(), f, "f40", client.ImportOptions{Class: client.ClassPortable, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	for e := range x.Events(t.Context()) {
		if e.Progress == 1 {
			break
		}
	}
	if done, total := x.Bytes(); done != 9<<10 || total != 9<<10 {
		t.Errorf("%d of %d bytes are done, want all of the last 9216", done, total)
	}
	if x.IsCarried() {
		t.Error("a regular file is carried")
	}
	wantCalls(t, w, "ImportTarEx f40 portable 2")
	x.Close()
	list, err := c.Transfers(t.Context(), "")
	if err != nil || len(list) != 1 {
		t.Errorf("after Close there are %v, %v: closing ended the transfer", list, err)
	}
}

// socketFile is one end of a socket, and the other one.
func socketFile(t *testing.T) (*os.File, net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket")
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); theirs.Close() })
	return theirs, conn
}

func TestASocketIsCarried(t *testing.T) {
	t.Parallel()
	_, c := connectToImportd(t, "", "read")
	theirs, conn := socketFile(t)
	x, err := c.ImportRaw(t.Context(), theirs, "disk", client.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(make([]byte, 5000)); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := x.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if done, total := x.Bytes(); done != 5000 || total != client.Unknown {
		t.Errorf("%d of %d bytes were carried", done, total)
	}
}

func TestWhatIsAppendedToIsCarriedAsAWhole(t *testing.T) {
	t.Parallel()
	_, c := connectToImportd(t, "", "write 300000")
	file := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(file, []byte("begun"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x, err := c.ExportTar(t.Context(), "f40", f, client.ExportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != 300005 {
		t.Errorf("the file has %d bytes, want 300005", info.Size())
	}
}

func TestAFullDeviceIsWhyAnExportFails(t *testing.T) {
	t.Parallel()
	_, c := connectToImportd(t, "", "write 300000", "log 27 Failed to write output file: Broken pipe", "fail")
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	x, err := c.ExportRaw(t.Context(), "disk", full, client.ExportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	err = x.Wait(t.Context())
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "/dev/full") {
		t.Errorf("got %v", err)
	}
}

func TestAnInputThatCannotBeReadCancelsTheImport(t *testing.T) {
	t.Parallel()
	w, c := connectToImportd(t, "", "wait")
	// What is open for writing only cannot be read, and appending has it carried.
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "in"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x, err := c.ImportRaw(t.Context(), f, "disk", client.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Wait(t.Context()); !errors.Is(err, unix.EBADF) {
		t.Errorf("got %v", err)
	}
	w.AwaitCall("CancelTransfer 1")
}

func TestClosingACarriedTransferCancelsIt(t *testing.T) {
	t.Parallel()
	w, c := connectToImportd(t, "", "wait")
	theirs, _ := socketFile(t)
	x, err := c.ImportTar(t.Context(), theirs, "f40", client.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	x.Close()
	w.AwaitCall("CancelTransfer 1")
}

func TestAnImportdBefore256IsAskedTheOldWay(t *testing.T) {
	t.Parallel()
	w, c := connectToImportd(t, "old", "wait")
	ctx := t.Context()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = c.PullTar(ctx, "http://s/a.tar", "a", client.PullOptions{Verify: client.VerifyChecksum, Force: true, KeepDownload: true})
	_, err2 := c.ImportRaw(ctx, f, "b", client.ImportOptions{ReadOnly: true})
	_, err3 := c.ExportTar(ctx, "a", f, client.ExportOptions{Format: client.Gzip})
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	list, err := c.Transfers(ctx, "")
	if err != nil || len(list) != 3 || list[0].Class != client.ClassMachine || list[0].Progress != client.NoProgress {
		t.Errorf("got %v, %v", list, err)
	}
	wantCalls(t, w, "PullTar http://s/a.tar a checksum true", "ImportRaw b false true", "ExportTar a gzip", "ListTransfers")
	for _, try := range []func() error{
		func() error { _, err := c.PullOCI(ctx, "web", "web", client.PullOptions{}); return err },
		func() error {
			_, err := c.ImportFS(ctx, f, "a", client.ImportOptions{Class: client.ClassSysext})
			return err
		},
	} {
		if err := try(); !errors.Is(err, machine1.ErrNotSupported) || !strings.Contains(err.Error(), "does not know") {
			t.Errorf("got %v", err)
		}
	}
}

func TestAnOCIImageIsPulled(t *testing.T) {
	t.Parallel()
	w, c := connectToImportd(t, "oci")
	x, err := c.PullOCI(t.Context(), "registry.test/web:1", "web", client.PullOptions{Force: true, KeepDownload: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCalls(t, w, "PullOci registry.test/web:1 web machine 1")
}

func TestTransfersAreListedByName(t *testing.T) {
	t.Parallel()
	_, c := connectToImportd(t, "", "progress 0.5", "wait")
	for _, name := range []string{"b", "a"} {
		x, err := c.PullRaw(t.Context(), "http://s/"+name, name, client.PullOptions{Class: client.ClassSysext})
		if err != nil {
			t.Fatal(err)
		}
		for range x.Events(t.Context()) {
			break
		}
	}
	list, err := c.Transfers(t.Context(), client.ClassSysext)
	if err != nil {
		t.Fatal(err)
	}
	want := []client.ListedTransfer{
		{ID: 2, Type: "pull-raw", Class: "sysext", Local: "a", Remote: "http://s/a", Progress: 0.5},
		{ID: 1, Type: "pull-raw", Class: "sysext", Local: "b", Remote: "http://s/b", Progress: 0.5},
	}
	if fmt.Sprint(list) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", list, want)
	}
	if list, err := c.Transfers(t.Context(), client.ClassMachine); err != nil || len(list) != 0 {
		t.Errorf("of machines there are %v, %v", list, err)
	}
	if err := c.CancelTransfer(t.Context(), 99); !errors.Is(err, machine1.ErrNoSuchTransfer) {
		t.Errorf("got %v", err)
	}
}

func TestATransferEndsWithItsDaemon(t *testing.T) {
	t.Parallel()
	w, c := connectToImportd(t, "", "wait")
	x, err := c.PullTar(t.Context(), "http://s/a.tar", "a", client.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.StopImportd()
	if err := x.Wait(t.Context()); !errors.Is(err, machine1.ErrNoReply) {
		t.Errorf("got %v", err)
	}
}

// A daemon that the bus has just started has a new owner, and may be done before
// anybody asks it about that.
func TestATransferThatIsSoonOverIsNotLost(t *testing.T) {
	t.Parallel()
	_, c := connectToImportd(t, "", "restart", "log 3 no such disk", "fail")
	x, err := c.PullTar(t.Context(), "http://s/a.tar", "a", client.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		if list, err := c.Transfers(t.Context(), ""); err == nil && len(list) == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	var failed *client.TransferError
	if err := x.Wait(t.Context()); !errors.As(err, &failed) || failed.Reason != "no such disk" {
		t.Errorf("got %v", err)
	}
}

func TestWithoutImportdItsNameIsTold(t *testing.T) {
	t.Parallel()
	_, c := connect(t)
	_, err := c.Transfers(t.Context(), "")
	if !errors.Is(err, machine1.ErrServiceUnknown) || !strings.Contains(err.Error(), "org.freedesktop.import1") {
		t.Errorf("got %v", err)
	}
}

func TestNoFileIsAnInvalidArgument(t *testing.T) {
	t.Parallel()
	_, c := connect(t)
	_, fs := c.ImportFS(t.Context(), nil, "a", client.ImportOptions{})
	_, in := c.ImportTar(t.Context(), nil, "a", client.ImportOptions{})
	_, out := c.ExportRaw(t.Context(), "a", nil, client.ExportOptions{})
	for _, err := range []error{fs, in, out} {
		if !errors.Is(err, machine1.ErrInvalidArgs) {
			t.Errorf("got %v", err)
		}
	}
}
