package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/dbustest"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A teller is a daemon that tells how far it is, and then does nothing until
// nobody reads that any more, or goOn is closed.
type teller struct {
	progress []machd.Progress
	goOn     chan struct{}
	left     chan struct{}
	deaf     atomic.Bool // it does not end then
}

func (d *teller) CloneImage(_, _ string, options map[string]dbus.Variant) *dbus.Error {
	parsed, err := machd.ParseCloneOptions(options)
	if err != nil || parsed.Progress == 0 {
		return dbus.MakeFailedError(fmt.Errorf("there is no pipe: %w", err))
	}
	pipe := os.NewFile(uintptr(parsed.Progress), "pipe")
	defer pipe.Close()
	for _, p := range d.progress {
		if json.NewEncoder(pipe).Encode(p) != nil {
			return dbus.MakeFailedError(errors.New("nobody reads"))
		}
	}
	for {
		select {
		case <-d.goOn:
			return nil
		case <-time.After(10 * time.Millisecond):
		}
		if _, err := pipe.WriteString("\n"); err != nil {
			if d.deaf.Load() {
				<-d.goOn
			}
			time.Sleep(100 * time.Millisecond) // to clean up
			close(d.left)
			return dbus.MakeFailedError(errors.New("called off"))
		}
	}
}

// Introspect is what tells that it is machd.
func (d *teller) Introspect() (string, *dbus.Error) {
	return fmt.Sprintf("<interface name=%q/>", machd.ManagerInterface), nil
}

func newTeller(t *testing.T, progress ...machd.Progress) (*teller, *client.Client) {
	t.Helper()
	d := &teller{progress: progress, goOn: make(chan struct{}), left: make(chan struct{})}
	bus := dbustest.New(t)
	conn := bus.Dial()
	for _, name := range []string{machd.ManagerInterface, "org.freedesktop.DBus.Introspectable"} {
		if err := conn.Export(d, machine1.ObjectPath, name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.RequestName(machine1.BusName, 0); err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(t.Context(), bus.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return d, c
}

func TestProgressIsTold(t *testing.T) {
	t.Parallel()
	want := []machd.Progress{{Bytes: 1, Files: 1}, {Bytes: 2, Files: 1, TotalBytes: 3, TotalFiles: 2}, {Bytes: 3, Files: 2, TotalBytes: 3, TotalFiles: 2}}
	d, c := newTeller(t, want...)
	var got []machd.Progress
	ctx := client.WithProgress(t.Context(), func(p client.Progress) {
		if got = append(got, p); len(got) == len(want) {
			close(d.goOn)
		}
	})
	if err := c.CloneImage(ctx, "image", "copy", false); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
}

func TestTheEndOfAContextWithProgressCallsOff(t *testing.T) {
	t.Parallel()
	d, c := newTeller(t, machd.Progress{Bytes: 1})
	ctx, cancel := context.WithCancel(t.Context())
	ctx = client.WithProgress(ctx, func(client.Progress) { cancel() })
	if err := c.CloneImage(ctx, "image", "copy", false); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	select {
	case <-d.left:
	default:
		t.Error("the daemon goes on")
	}
}

// Nobody waits for ever for a daemon that does not leave off.
func TestTheEndOfAContextWithProgressOfADeafDaemon(t *testing.T) {
	t.Parallel()
	d, c := newTeller(t, machd.Progress{Bytes: 1})
	d.deaf.Store(true)
	defer close(d.goOn)
	ctx, cancel := context.WithCancel(t.Context())
	ctx = client.WithProgress(ctx, func(client.Progress) { cancel() })
	if err := c.CloneImage(ctx, "image", "copy", false); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}
