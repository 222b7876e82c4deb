// Package access is the authorization matrix: which polkit action an operation
// needs, what the question says about it, and who passes without one. Both
// faces ask through it, so that no way into the daemon is wider than another.
// It must not know how a question is put, or what an operation does.
package access

import (
	"context"
	"maps"

	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A Rule is one row of the matrix.
type Rule struct {
	Action string // of polkit
	Host   string // asked instead if the machine is the host itself; "" for Action
	Verb   string // the detail "verb" of the question; "" if it has none
	Owner  bool   // the user who registered the machine passes unasked
}

// Rules about machines.
//
// Reference: machined-dbus.c, machine-dbus.c and machine-varlink.c, the calls
// of bus_verify_polkit_async_full and varlink_verify_polkit_async_full.
var (
	// Whoever creates or registers a machine has to own its leader, too.
	Create     = Rule{Action: machine1.ActionCreateMachine}
	Register   = Rule{Action: machine1.ActionRegisterMachine}
	Unregister = Rule{Action: machine1.ActionManageMachines, Verb: "unregister", Owner: true}
	Terminate  = Rule{Action: machine1.ActionManageMachines, Verb: "terminate", Owner: true}
	Kill       = Rule{Action: machine1.ActionManageMachines, Verb: "kill", Owner: true}

	// Inspect lets callers of Varlink see what a machine has to be looked
	// into for; OSRelease is the part of it that D-Bus has.
	Inspect   = Rule{Action: machine1.ActionInspectMachines}
	OSRelease = Rule{Action: machine1.ActionInspectMachines, Verb: "get_os_release"}

	OpenPTY = Rule{Action: machine1.ActionOpenPTY, Host: machine1.ActionHostOpenPTY, Owner: true}
	Login   = Rule{Action: machine1.ActionLogin, Host: machine1.ActionHostLogin, Verb: "login", Owner: true}
	Shell   = Rule{Action: machine1.ActionShell, Host: machine1.ActionHostShell, Owner: true}

	// An owner does not pass these: they reach files of the host.
	Bind     = Rule{Action: machine1.ActionManageMachines, Verb: "bind"}
	Copy     = Rule{Action: machine1.ActionManageMachines, Verb: "copy"}
	OpenRoot = Rule{Action: machine1.ActionManageMachines, Verb: "open_root_directory"}
)

// Rules about images and the pool they are in.
//
// Reference: image-dbus.c, machined-dbus.c and image-varlink.c. The pool's
// actions differ between D-Bus and Varlink there.
var (
	InspectImage        = Rule{Action: machine1.ActionInspectImages}
	RemoveImage         = Rule{Action: machine1.ActionManageImages, Verb: "remove"}
	RenameImage         = Rule{Action: machine1.ActionManageImages, Verb: "rename"}
	CloneImage          = Rule{Action: machine1.ActionManageImages, Verb: "clone"}
	MarkImageReadOnly   = Rule{Action: machine1.ActionManageImages, Verb: "mark_read_only"}
	SetImageLimit       = Rule{Action: machine1.ActionManageImages, Verb: "set_limit"}
	UpdateImage         = Rule{Action: machine1.ActionManageImages, Verb: "update"}
	SetPoolLimit        = Rule{Action: machine1.ActionManageMachines, Verb: "set_pool_limit"}
	VarlinkSetPoolLimit = Rule{Action: machine1.ActionManageImages, Verb: "set_pool_limit"}
	CleanPool           = Rule{Action: machine1.ActionManageMachines, Verb: "clean_pool"}
	VarlinkCleanPool    = Rule{Action: machine1.ActionManageImages, Verb: "clean_pool"}
)

// Rules of our own interfaces. They can do more than what the stock actions
// were granted for: binds into user namespaces, mounts taken away, settings
// that a human wrote removed.
var (
	OwnBind        = Rule{Action: machd.ActionBind, Verb: "bind"}
	OwnUnbind      = Rule{Action: machd.ActionBind, Verb: "unbind"}
	OwnCopyFrom    = Rule{Action: machd.ActionCopy, Verb: "copy_from"}
	OwnCopyTo      = Rule{Action: machd.ActionCopy, Verb: "copy_to"}
	OwnRemoveImage = Rule{Action: machd.ActionManageImages, Verb: "remove"}

	OwnCreateImage     = Rule{Action: machd.ActionManageImages, Verb: "create"}
	OwnMeasureImage    = Rule{Action: machd.ActionManageImages, Verb: "measure"}
	OwnSetPassword     = Rule{Action: machd.ActionManageImages, Verb: "set_password"}
	OwnCreateSnapshot  = Rule{Action: machd.ActionManageImages, Verb: "create_snapshot"}
	OwnRestoreSnapshot = Rule{Action: machd.ActionManageImages, Verb: "restore_snapshot"}
	OwnRemoveSnapshot  = Rule{Action: machd.ActionManageImages, Verb: "remove_snapshot"}

	// Starting with options, or running what one likes, is as much as being
	// root of the host; so no owner passes.
	OwnStart     = Rule{Action: machd.ActionStart, Verb: "start"}
	OwnRun       = Rule{Action: machd.ActionStart, Verb: "run"}
	OwnPlan      = Rule{Action: machd.ActionStart, Verb: "plan"}
	OwnSetLimits = Rule{Action: machd.ActionSetLimits, Verb: "set_limits"}
	OwnStop      = Rule{Action: machd.ActionStop, Verb: "stop", Owner: true}
	OwnRestart   = Rule{Action: machd.ActionStop, Verb: "restart", Owner: true}
	OwnExec      = Rule{Action: machd.ActionExec, Verb: "exec", Owner: true}

	// Ports are the host's. A diagnosis sends packets, and tells of what others
	// have opened.
	OwnAddPorts    = Rule{Action: machd.ActionManageNetwork, Verb: "add_ports"}
	OwnRemovePorts = Rule{Action: machd.ActionManageNetwork, Verb: "remove_ports"}
	OwnDiagnose    = Rule{Action: machd.ActionManageNetwork, Verb: "diagnose"}
	OwnFix         = Rule{Action: machd.ActionManageNetwork, Verb: "fix"}
)

// Exec returns the rule for a command: a login on a terminal is a shell, and so
// as much as the stock method gives.
func Exec(o machd.ExecOptions) Rule {
	if o.Login && o.Terminal {
		return Shell
	}
	return OwnExec
}

// A Question is a row filled in.
type Question struct {
	Rule Rule
	// Details are what polkit's rules can look at, without the verb. The
	// keys are part of the API: administrators' rules name them.
	Details map[string]string
	// Interactive says that the caller can wait for a password.
	Interactive bool
}

// Authority answers for polkit; *auth.Authority does.
type Authority interface {
	Check(ctx context.Context, c auth.Caller, r auth.Request) (auth.Verdict, error)
}

// Machines tells which machines there are; *machine.Manager does.
type Machines interface{ View() *machine.View }

// A Gate stands before every operation that is not open to everybody.
type Gate struct {
	authority Authority
	machines  Machines
}

// New returns the gate that asks authority.
func New(authority Authority, machines Machines) *Gate {
	return &Gate{authority: authority, machines: machines}
}

// Ask asks about something that is not one machine's.
func (g *Gate) Ask(ctx context.Context, c auth.Caller, q Question) error {
	_, err := g.Decide(ctx, c, q)
	return err
}

// Decide is Ask that tells as well how it was granted.
func (g *Gate) Decide(ctx context.Context, c auth.Caller, q Question) (auth.Verdict, error) {
	return g.authority.Check(ctx, c, q.request(q.Rule.Action))
}

// Machine asks whether c may do to m what q says, and returns m as it is once
// the answer is there: asking may take minutes. A machine that is gone by
// then, or that another has taken the place of, is ErrNoSuchMachine: the answer
// was not about that one.
func (g *Gate) Machine(ctx context.Context, c auth.Caller, m machine.Machine, q Question) (machine.Machine, error) {
	action := q.Rule.Action
	if m.Class == machine1.ClassHost && q.Rule.Host != "" {
		action = q.Rule.Host
	}
	request := q.request(action)
	if q.Rule.Owner {
		request.Owner = &m.UID
	}
	if _, err := g.authority.Check(ctx, c, request); err != nil {
		return m, err
	}
	now, ok := g.machines.View().Get(m.Name)
	if !ok || now.UID != m.UID || now.Class != m.Class || now.Monotonic != m.Monotonic {
		return m, NoSuchMachine(m.Name)
	}
	return now, nil
}

// NoSuchMachine is the error about a name that no machine has. Clients look
// for its text.
//
// Reference: machined-dbus.c, bus_get_machine_by_name and its like.
func NoSuchMachine(name string) error {
	return machine1.Errorf(machine1.ErrNoSuchMachine, "No machine '%s' known", name)
}

func (q Question) request(action string) auth.Request {
	details := q.Details
	if q.Rule.Verb != "" {
		details = maps.Clone(details)
		if details == nil {
			details = map[string]string{}
		}
		details["verb"] = q.Rule.Verb
	}
	return auth.Request{Action: action, Details: details, Interactive: q.Interactive}
}
