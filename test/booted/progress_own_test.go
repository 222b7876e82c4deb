package booted

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/client"
	machd1 "github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A longCall is something that takes a while, with an image or in a machine.
type longCall struct {
	name string
	make func(ctx context.Context, c *client.Client) error
	argv []string // of machctl, for the same
}

// longCalls copy and remove the image big, and copy it to the machine and back.
func longCalls(machine, host string) []longCall {
	big := filepath.Join(guests, "big")
	return []longCall{
		{"clone", func(ctx context.Context, c *client.Client) error { return c.CloneImage(ctx, "big", "big2", false) },
			[]string{"clone", "big", "big2"}},
		{"copy to", func(ctx context.Context, c *client.Client) error {
			return c.CopyTo(ctx, machine, client.Copy{Source: big, Destination: "/root/there"})
		}, []string{"copy-to", machine, big, "/root/there"}},
		{"copy from", func(ctx context.Context, c *client.Client) error {
			return c.CopyFrom(ctx, machine, client.Copy{Source: "/root/big", Destination: host})
		}, []string{"copy-from", machine, "/root/big", host}},
		{"remove", func(ctx context.Context, c *client.Client) error { return c.RemoveImageKeepingSettings(ctx, "big2") },
			[]string{"remove", "--yes", "big2"}},
	}
}

// hugeImage is the image big with so many files that there is time to leave, and
// how many those are.
func hugeImage(t *testing.T) (files uint64) {
	t.Helper()
	installBigImage(t)
	run(t, "bash", "-c", `cd /var/lib/machines/big; for i in a b c d; do mkdir $i; cp -a [0-9]* $i/; done`)
	return 5 * 60 * 100
}

// startCopyMachine starts a machine that has the image big in /root, too.
func startCopyMachine(t *testing.T, w *watcher, name string) {
	t.Helper()
	startByHand(t, w, name)
	run(t, "cp", "-a", filepath.Join(guests, "big"), rootDir(t, name)+"/root/big")
}

// TestMachdTellsHowFarItIs until all is done.
func TestMachdTellsHowFarItIs(t *testing.T) {
	files := hugeImage(t)
	w := watch(t)
	const machine = "copy-told"
	startCopyMachine(t, w, machine)
	c, err := client.Connect(t.Context())
	must(t, err)
	defer c.Close()
	for _, long := range longCalls(machine, t.TempDir()+"/back") {
		var told []client.Progress
		must(t, long.make(client.WithProgress(t.Context(), func(p client.Progress) { told = append(told, p) }), c))
		if len(told) == 0 {
			t.Errorf("%s: nothing is told", long.name)
			continue
		}
		last := told[len(told)-1]
		if last.Files < files || long.name != "remove" && last.Bytes != files*uint64(len("content")) {
			t.Errorf("%s: told at last %+v, want %d files", long.name, last, files)
		}
		if !slices.IsSortedFunc(told, func(a, b client.Progress) int { return int(a.Files) - int(b.Files) }) {
			t.Errorf("%s: it goes back: %+v", long.name, told)
		}
		if last.TotalFiles != 0 && last.TotalFiles != last.Files {
			t.Errorf("%s: there are %d in all, and %d were done", long.name, last.TotalFiles, last.Files)
		}
	}
}

// TestMachdTellsHowFarItIsOnVarlink in records of a stream, the last of which says
// that it is done.
func TestMachdTellsHowFarItIsOnVarlink(t *testing.T) {
	files := hugeImage(t)
	w := watch(t)
	const machine = "copy-told-varlink"
	startCopyMachine(t, w, machine)
	for _, call := range []struct{ method, parameters string }{
		{machd1.MachineImageVarlink + ".Clone", `{"name":"big","newName":"big2"}`},
		{machd1.MachineImageVarlink + ".Remove", `{"name":"big2"}`},
		{machd1.MachineVarlink + ".CopyTo", fmt.Sprintf(`{"name":%q,"source":%q,"destination":"/root/there"}`, machine, guests+"/big")},
		{machd1.MachineVarlink + ".CopyFrom", fmt.Sprintf(`{"name":%q,"source":"/root/big","destination":%q}`, machine, t.TempDir()+"/back")},
	} {
		conn := dialVarlink(t, "root")
		conn.send(t, withMore(varlinkMessage(call.method, call.parameters)))
		records, done := 0, float64(0)
		for {
			r, err := conn.next()
			if err != nil || r.Error != "" {
				t.Fatalf("%s: %v %s", call.method, err, r.Error)
			}
			if !r.Continues {
				break
			}
			records++
			done, _ = r.Parameters["files"].(float64)
		}
		if records == 0 || uint64(done) < files {
			t.Errorf("%s: %d records, the last one of %.0f files; want %d", call.method, records, done, files)
		}
		conn.Close()
	}
}

// TestMachdIsCalledOff by who does not wait any more, a program or a person: of
// copies nothing is left, and what was about to be removed does not come back.
func TestMachdIsCalledOff(t *testing.T) {
	hugeImage(t)
	w := watch(t)
	const machine = "copy-left"
	startCopyMachine(t, w, machine)
	c, err := client.Connect(t.Context())
	must(t, err)
	defer c.Close()
	host := t.TempDir() + "/back"
	left := func() error {
		for _, path := range []string{guests + "/big2", rootDir(t, machine) + "/root/there", host} {
			if _, err := os.Lstat(path); err == nil {
				return fmt.Errorf("%s is there", path)
			}
		}
		if half := drafts(t); len(half) > 0 {
			return fmt.Errorf("there is %q", half)
		}
		return nil
	}
	wantCalm(t, pid(t), func() {
		for _, long := range longCalls(machine, host) {
			for _, leave := range []struct {
				name string
				call func() (calledOff bool)
			}{
				{"a program", func() bool {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					err := long.make(client.WithProgress(ctx, func(client.Progress) { cancel() }), c)
					// A removal may be over before the daemon hears of it.
					return errors.Is(err, context.Canceled) || err == nil && long.name == "remove"
				}},
				{"a person", func() bool { return interruptedAtOnce(t, long, left) }},
			} {
				if long.name == "remove" {
					must(t, c.CloneImage(t.Context(), "big", "big2", false))
				}
				if !leave.call() {
					t.Errorf("%s is not called off by %s", long.name, leave.name)
				}
				eventually(t, fmt.Sprintf("nothing is left of %s, which %s called off", long.name, leave.name), left)
			}
		}
	})
}

// TestMachdRepeatsWhatWasCalledOff at once: what is left of the first one is not in
// the way of the second, and takes nothing of it away.
func TestMachdRepeatsWhatWasCalledOff(t *testing.T) {
	hugeImage(t)
	w := watch(t)
	const machine = "copy-again"
	startCopyMachine(t, w, machine)
	imagesGoAfter(t, "big3")
	c, err := client.Connect(t.Context())
	must(t, err)
	defer c.Close()
	host := t.TempDir() + "/back"
	whole := run(t, "bash", "-c", "cd "+guests+"/big; find . | wc -l")
	calls := longCalls(machine, host)[:3]
	calls = append(calls, longCall{"create", func(ctx context.Context, c *client.Client) error {
		_, err := c.CreateImage(ctx, "big3", "machine:big", nil, client.ImageOptions{}, nil)
		return err
	}, []string{"create", "big3", "--from", "machine:big"}})
	for i, made := range []string{guests + "/big2", rootDir(t, machine) + "/root/there", host, guests + "/big3"} {
		long := calls[i]
		entries := func() string { return run(t, "bash", "-c", "cd "+made+"; find . | wc -l") }
		want := whole
		if long.name == "copy from" {
			want = run(t, "bash", "-c", "cd "+rootDir(t, machine)+"/root/big; find . | wc -l")
		}
		for range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			stop := time.AfterFunc(150*time.Millisecond, cancel)
			err := long.make(client.WithProgress(ctx, func(client.Progress) {}), c)
			stop.Stop()
			cancel()
			if err == nil { // it was quicker
				must(t, os.RemoveAll(made))
			} else if !errors.Is(err, context.Canceled) {
				t.Errorf("%s is not called off: %v", long.name, err)
			}
			if err := long.make(t.Context(), c); err != nil {
				t.Fatalf("%s, again: %v", long.name, err)
			}
			if got := entries(); got != want {
				t.Errorf("%s, again: there are %s of %s", long.name, got, want)
			}
			must(t, os.RemoveAll(made))
		}
		cmd := exec.Command("machctl", long.argv...)
		must(t, cmd.Start())
		time.Sleep(200 * time.Millisecond)
		must(t, cmd.Process.Signal(unix.SIGINT))
		if cmd.Wait() == nil {
			must(t, os.RemoveAll(made))
		} else if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != unix.SIGINT {
			t.Errorf("%s ends by ^C with %v", long.name, cmd.ProcessState)
		}
		run(t, append([]string{"machctl"}, long.argv...)...)
		if got := entries(); got != want {
			t.Errorf("%s, again by machctl: there are %s of %s", long.name, got, want)
		}
		must(t, os.RemoveAll(made))
	}
}

// interruptedAtOnce presses ^C once something has begun, and reports whether that
// ended the command.
func interruptedAtOnce(t *testing.T, long longCall, left func() error) bool {
	t.Helper()
	cmd := exec.Command("machctl", long.argv...)
	must(t, cmd.Start())
	eventually(t, "it has begun", func() error {
		if long.name == "remove" && len(drafts(t)) == 0 || long.name != "remove" && left() == nil {
			return errors.New("there is nothing")
		}
		return nil
	})
	must(t, cmd.Process.Signal(unix.SIGINT))
	_ = cmd.Wait()
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return status.Signaled() && status.Signal() == unix.SIGINT || long.name == "remove" && cmd.ProcessState.Success()
}

// TestMachdWantsAPipeForProgress and refuses all else, before it does anything.
func TestMachdWantsAPipeForProgress(t *testing.T) {
	w := watch(t)
	const machine = "copy-no-pipe"
	startByHand(t, w, machine)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	must(t, err)
	defer null.Close()
	reader, writer, err := os.Pipe()
	must(t, err)
	defer reader.Close()
	defer writer.Close()
	for name, f := range map[string]*os.File{"a device": null, "the wrong end": reader} {
		o := machd1.CopyOptions{Progress: dbus.UnixFD(f.Fd())}
		err := faces[0].copyTo(t, machine, copyTree(t), "/root/there", o)
		if !errors.Is(err, machine1.ErrInvalidArgs) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantWithin(t, w.properties(t, machine)["Leader"], "", "ls", "/root")
	must(t, faces[0].copyTo(t, machine, copyTree(t), "/root/there", machd1.CopyOptions{Progress: dbus.UnixFD(writer.Fd())}))
}
