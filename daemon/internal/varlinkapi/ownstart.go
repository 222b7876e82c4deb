package varlinkapi

import (
	"context"
	"math"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/launch"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machd"
)

// Starter starts machines; *launch.Launcher does.
type Starter interface {
	Start(ctx context.Context, name string, o machd.StartOptions) (launch.Result, error)
}

// startOptions are the options of a start. Each is the one of D-Bus whose name
// has '_' where this one has a capital.
var startOptions = slices.Concat(varlink.Fields{
	option("image", "Name of the image to start from; without any of these four, it is the machine's name", varlink.String),
	option("directory", "Path of a directory tree to start from", varlink.String),
	option("disk", "Path of a disk image or block device to start from", varlink.String),
	option("from", "Name of an image that is cloned first", varlink.String),
	option("vm", "Start a virtual machine", varlink.Bool),
	option("ephemeral", "Throw away what the machine writes", varlink.Bool),
	option("overlay", "The same on an overlay, where the file system has no snapshots", varlink.Bool),
	option("boot", "yes for its init, no for the command alone", varlink.String),
	option("command", "What is run, or arguments of its init", varlink.Array(varlink.String)),
	option("bind", "SOURCE[:DESTINATION[:OPTIONS]]", varlink.Array(varlink.String)),
	option("bindRo", "The same, read-only", varlink.Array(varlink.String)),
	option("environment", "NAME=VALUE", varlink.Array(varlink.String)),
	option("hostname", "", varlink.String),
	option("privateUsers", "yes, no, pick, identity or a first ID", varlink.String),
	option("capability", "", varlink.Array(varlink.String)),
	option("nspawnArguments", "Options of systemd-nspawn, or systemd-vmspawn, for all the rest", varlink.Array(varlink.String)),
	option("memory", "Bytes with a suffix, or a percentage", varlink.String),
	option("cpus", "How many processors' time", varlink.String),
	option("tasks", "How many processes and threads", varlink.String),
	option("ioWeight", "1 to 10000", varlink.String),
	option("property", "Of the unit, NAME=VALUE as in unit files", varlink.Array(varlink.String)),
	option("slice", "", varlink.String),
	option("restart", "no, on-failure or always", varlink.String),
	option("stopSignal", "That its init takes for a shutdown", varlink.String),
	option("stopTimeout", "Microseconds", varlink.Uint),
	option("protect", "Refuse to stop it without force", varlink.Bool),
	option("wait", "ready, the default, registered or no", varlink.String),
	option("waitTimeout", "Microseconds", varlink.Uint),
	option("save", "Write the options to the machine's settings", varlink.Bool),
}, networkOptions)

func option(name, doc string, t *varlink.Type) varlink.Field {
	return varlink.Field{Name: name, Doc: doc, Type: t, Nullable: true}
}

// onNewMachine is the input of a method about a machine that need not be there.
func onNewMachine(rest ...varlink.Field) varlink.Fields {
	return append(varlink.Fields{{Name: "name", Type: varlink.String, Valid: isMachineName}, interactive}, rest...)
}

var startMethods = []varlink.Method[*API]{
	{
		Name: "Start",
		Doc:  "Starts a machine, and answers when it has come as far as 'wait' says",
		In:   onNewMachine(startOptions...),
		Out: varlink.Fields{
			{Name: "unit", Doc: "That carries it", Type: varlink.String},
			{Name: "state", Doc: "queued, registered, ready or degraded", Type: varlink.String},
			{Name: "note", Doc: "What a person should know of that", Type: varlink.String, Nullable: true},
		},
		Access: machd.ActionStart,
		Func:   ownStart,
	},
}

var startFailed = varlink.ErrorType{
	Name: "StartFailed", Doc: "The machine was not started, and what was done for it is taken back",
	Fields: varlink.Fields{
		{Name: "reason", Type: varlink.String},
		{Name: "log", Doc: "The last lines of its unit", Type: varlink.Array(varlink.String), Nullable: true},
	},
}

type started struct {
	Unit  string `json:"unit"`
	State string `json:"state"`
	Note  string `json:"note,omitempty"`
}

func ownStart(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	name := c.In.String("name")
	o, err := startOptionsOf(c)
	if err != nil {
		return nil, refusal(err)
	}
	if err := a.ask(ctx, c, access.OwnStart, access.StartDetails(name, o)); err != nil {
		return nil, err
	}
	r, err := a.Launcher.Start(ctx, name, o)
	if err != nil {
		return nil, refusal(err)
	}
	return started{r.Unit, r.State, r.Note}, nil
}

// startOptionsOf reads the options as they would come over the bus.
func startOptionsOf(c *varlink.Call) (machd.StartOptions, error) {
	options := map[string]dbus.Variant{}
	for _, f := range startOptions {
		if !c.In.Has(f.Name) {
			continue
		}
		var value any
		switch f.Type {
		case varlink.String:
			value = c.In.String(f.Name)
		case varlink.Bool:
			value = c.In.Bool(f.Name)
		case varlink.Uint:
			value = min(c.In.Uint(f.Name), math.MaxInt64/1000)
		default:
			value = c.In.Strings(f.Name)
		}
		options[onBus(f.Name)] = dbus.MakeVariant(value)
	}
	return machd.ParseStartOptions(options)
}

// onBus returns the name that an option has on the bus.
func onBus(name string) string {
	var b strings.Builder
	for _, r := range name {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// refusal gives the error of a start the name that has room for its text, unless
// it has one that says all.
func refusal(err error) error {
	if named(err) != nil {
		return err
	}
	type reason struct {
		Reason string   `json:"reason"`
		Log    []string `json:"log,omitempty"`
	}
	first, rest, _ := strings.Cut(err.Error(), "\n")
	text := reason{Reason: first}
	if rest != "" {
		text.Log = strings.Split(rest, "\n")
	}
	return &varlink.Error{Name: machd.MachineVarlink + "." + startFailed.Name, Parameters: text}
}
