package access_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/pkg/machine1"
)

// polkit remembers what it was asked.
type polkit struct {
	asked  auth.Request
	answer error
}

func (p *polkit) Check(_ context.Context, _ auth.Caller, r auth.Request) (auth.Verdict, error) {
	p.asked = r
	return auth.Verdict{Admin: true}, p.answer
}

// newMachines returns a Manager that knows the host only.
func newMachines(t *testing.T) *machine.Manager {
	t.Helper()
	m, err := machine.New(machine.Config{Dir: t.TempDir(), Emit: func(machine.Event) {}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Skipf("needs a host with a machine ID: %v", err)
	}
	return m
}

func TestQuestionsAreTheRows(t *testing.T) {
	t.Parallel()
	machines := newMachines(t)
	host, _ := machines.View().Get(machine1.Host)
	other := machine.Machine{Name: "other", Class: machine1.ClassContainer, UID: 1000}
	for name, c := range map[string]struct {
		machine machine.Machine
		rule    access.Rule
		details map[string]string
		action  string
		want    map[string]string
		owner   bool
	}{
		"a verb":                  {other, access.Kill, map[string]string{"machine": "other"}, machine1.ActionManageMachines, map[string]string{"machine": "other", "verb": "kill"}, true},
		"a verb and no details":   {other, access.OSRelease, nil, machine1.ActionInspectMachines, map[string]string{"verb": "get_os_release"}, false},
		"no verb":                 {other, access.Shell, map[string]string{"user": "a"}, machine1.ActionShell, map[string]string{"user": "a"}, true},
		"the host":                {host, access.Login, nil, machine1.ActionHostLogin, map[string]string{"verb": "login"}, true},
		"the host, as any other":  {host, access.OpenRoot, nil, machine1.ActionManageMachines, map[string]string{"verb": "open_root_directory"}, false},
		"files of the host":       {other, access.Bind, nil, machine1.ActionManageMachines, map[string]string{"verb": "bind"}, false},
		"files of the host again": {other, access.Copy, nil, machine1.ActionManageMachines, map[string]string{"verb": "copy"}, false},
	} {
		p := &polkit{}
		_, err := access.New(p, machines).Machine(t.Context(), auth.Caller{}, c.machine, access.Question{Rule: c.rule, Details: c.details, Interactive: true})
		if known := c.machine.Name == machine1.Host; (err == nil) != known {
			t.Errorf("%s: %v", name, err)
		}
		want := auth.Request{Action: c.action, Details: c.want, Interactive: true}
		if c.owner {
			want.Owner = &c.machine.UID
		}
		if diff := cmp.Diff(want, p.asked); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if _, ok := c.details["verb"]; ok {
			t.Errorf("%s: the caller's details are changed", name)
		}
	}
}

func TestAskingTellsTheVerdict(t *testing.T) {
	t.Parallel()
	p := &polkit{}
	gate := access.New(p, newMachines(t))
	verdict, err := gate.Decide(t.Context(), auth.Caller{}, access.Question{Rule: access.Create})
	if err != nil || !verdict.Admin || p.asked.Action != machine1.ActionCreateMachine {
		t.Errorf("got %v, %v, and polkit was asked %v", verdict, err, p.asked)
	}
	p.answer = machine1.ErrAccessDenied
	if err := gate.Ask(t.Context(), auth.Caller{}, access.Question{Rule: access.CleanPool}); !errors.Is(err, machine1.ErrAccessDenied) {
		t.Errorf("got %v", err)
	}
}

// The answer is about the machine there was when it was asked for.
func TestMachineHasToBeThereStill(t *testing.T) {
	t.Parallel()
	machines := newMachines(t)
	host, _ := machines.View().Get(machine1.Host)
	gate := access.New(&polkit{}, machines)
	for name, before := range map[string]machine.Machine{
		"one that has gone":           {Name: "gone", Class: machine1.ClassContainer},
		"one that was another user's": {Name: machine1.Host, Class: machine1.ClassHost, UID: 1000},
		"one of another class":        {Name: machine1.Host, Class: machine1.ClassVM},
	} {
		_, err := gate.Machine(t.Context(), auth.Caller{}, before, access.Question{Rule: access.OpenRoot})
		if !errors.Is(err, machine1.ErrNoSuchMachine) || err.Error() != "No machine '"+before.Name+"' known" {
			t.Errorf("%s: %v", name, err)
		}
	}
	now, err := gate.Machine(t.Context(), auth.Caller{}, host, access.Question{Rule: access.OpenRoot})
	if err != nil || now.Name != host.Name {
		t.Errorf("got %v, %v", now, err)
	}
	refusing := access.New(&polkit{answer: machine1.ErrInteractionRequired}, machines)
	if _, err := refusing.Machine(t.Context(), auth.Caller{}, host, access.Question{Rule: access.OpenRoot}); !errors.Is(err, machine1.ErrInteractionRequired) {
		t.Errorf("got %v", err)
	}
}
