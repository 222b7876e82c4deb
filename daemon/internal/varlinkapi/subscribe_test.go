package varlinkapi

import (
	"errors"
	"strings"
	"testing"

	"github.com/machd/machd/daemon/internal/machine"
)

const subscription = "org.machd.Machine.Subscribe"

func TestSubscribersAreToldOfEveryMachineOnce(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.register(t, "early", nil)
	s := begin(t, f.path, subscription, input{}, true)
	want := func(event, name string) {
		t.Helper()
		got := s.next()
		if !strings.Contains(got, `"event":"`+event+`"`) || !strings.Contains(got, `"name":"`+name+`"`) && name != "" {
			t.Fatalf("got %s, want %s of %q", got, event, name)
		}
	}
	want("present", ".host")
	want("present", "early")
	want("listed", "")
	f.register(t, "late", nil)
	want("added", "late")
	f.want(t, "Unregister", input{"name": "early"}, done)
	want("removed", "early")
	f.want(t, "Unregister", input{"name": "late"}, done)
	want("removed", "late")

	if got := f.call(t, subscription, input{}, false); len(got) != 1 || got[0] != expectedMore {
		t.Errorf("without more: %q", got)
	}
}

func TestAFollowerThatFallsBehindIsToldSo(t *testing.T) {
	t.Parallel()
	f := start(t)
	log := changes{view: f.machines.View()}
	slow, fast := log.follow(), log.follow()
	seen := 0
	for range maxChanges + 1 {
		log.add(machine.Event{Added: true}, log.view)
		events, err := fast.events(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen += len(events)
	}
	if seen != maxChanges+1 {
		t.Errorf("who kept up has seen %d", seen)
	}
	if _, err := slow.events(t.Context()); !errors.Is(err, errTooSlow) {
		t.Errorf("who fell behind: %v", err)
	}
	if len(log.log) != maxChanges {
		t.Errorf("the log has %d events", len(log.log))
	}
	fast.close()
	slow.close()
	if log.log != nil {
		t.Error("the log is kept for nobody")
	}
}
