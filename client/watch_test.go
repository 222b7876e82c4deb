package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/machine1test"
	"github.com/machd/machd/pkg/dbustest"
	"github.com/machd/machd/pkg/machine1"
)

// watch follows a watch and returns a function that waits for the next event.
func watch(t *testing.T, c *client.Client) (next func() string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	events := make(chan string, 100)
	go func() {
		defer close(events)
		for e, err := range c.Watch(ctx) {
			if err != nil {
				events <- fmt.Sprint("error ", errors.Is(err, machine1.ErrDisconnected))
				return
			}
			events <- e.Kind.String() + " " + e.Name
		}
	}()
	return func() string { return <-events }
}

func wantEvents(t *testing.T, next func() string, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := next(); got != w {
			t.Fatalf("got %q, want %q", got, w)
		}
	}
}

func TestAWatchTellsWhatIsThereAndThenWhatChanges(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	w.Add(machine1test.C8NS())
	next := watch(t, c)
	wantEvents(t, next, "present .host", "present c8-ns")
	m := machine1test.C8NS()
	m.Name = "web"
	w.Add(m)
	wantEvents(t, next, "added web")
	w.Remove("c8-ns")
	w.Remove("web")
	wantEvents(t, next, "removed c8-ns", "removed web")
}

func TestAWatchSeesWhatChangedWhileTheDaemonWasDown(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	w.Add(machine1test.C8NS())
	next := watch(t, c)
	wantEvents(t, next, "present .host", "present c8-ns")
	w.StopMachined()
	w.Remove("c8-ns")
	m := machine1test.C8NS()
	m.Name = "web"
	w.Add(m)
	if err := w.StartMachined(); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, next, "removed c8-ns", "added web")
}

func TestAWatchEndsWithTheBusAndSaysSo(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	next := watch(t, c)
	wantEvents(t, next, "present .host")
	w.StopBus()
	wantEvents(t, next, "error true", "")
}

func TestAWatchEndsQuietlyWithItsContextOrItsReader(t *testing.T) {
	t.Parallel()
	_, c := connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for e, err := range c.Watch(ctx) {
		if err != nil {
			t.Error(err)
		}
		if !strings.HasPrefix(e.Name, ".") {
			t.Errorf("event %+v", e)
		}
		cancel()
	}
	for range c.Watch(t.Context()) {
		break
	}
}

// Whose signals are meant cannot be known then, so none would ever be told.
func TestAWatchThatCannotFindTheDaemonSaysSo(t *testing.T) {
	t.Parallel()
	policy := filepath.Join(t.TempDir(), "policy.conf")
	err := os.WriteFile(policy, []byte(`<busconfig><policy context="default">
<deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus" send_member="GetNameOwner"/>
</policy></busconfig>`), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(t.Context(), dbustest.NewSystem(t, policy).Address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, err := range c.Watch(t.Context()) {
		if !errors.Is(err, machine1.ErrAccessDenied) || !strings.Contains(err.Error(), "cannot subscribe") {
			t.Errorf("got %v", err)
		}
	}
}

func TestWatchOfAnEndedContextIsEmpty(t *testing.T) {
	t.Parallel()
	_, c := connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for e, err := range c.Watch(ctx) {
		t.Errorf("it yields %v, %v", e, err)
	}
}
