package varlinkapi

import (
	"context"
	"slices"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

var (
	ownMachine = varlink.Struct("Machine",
		varlink.Field{Name: "name", Type: varlink.String},
		varlink.Field{Name: "id", Type: varlink.String, Nullable: true},
		varlink.Field{Name: "class", Type: machineClass},
		varlink.Field{Name: "service", Type: varlink.String, Nullable: true},
		varlink.Field{Name: "rootDirectory", Type: varlink.String, Nullable: true},
		varlink.Field{Name: "unit", Type: varlink.String, Nullable: true},
		varlink.Field{Name: "subgroup", Type: varlink.String, Nullable: true},
		varlink.Field{Name: "leader", Type: processID, Nullable: true},
		varlink.Field{Name: "supervisor", Type: processID, Nullable: true},
		varlink.Field{Name: "timestamp", Type: timestamp},
		varlink.Field{Name: "vSockCid", Type: varlink.Int, Nullable: true},
		varlink.Field{Name: "sshAddress", Type: varlink.String, Nullable: true},
		varlink.Field{Name: "sshPrivateKeyPath", Type: varlink.String, Nullable: true},
		varlink.Field{Name: "controlAddress", Type: varlink.String, Nullable: true},
		varlink.Field{Name: "UID", Doc: "Who registered it", Type: varlink.Int})

	ownEvent = varlink.Enum("Event", eventPresent, eventListed, eventAdded, eventRemoved)

	ownership = varlink.Field{
		Name: "ownership", Doc: "If left out, map: owners are the same on both sides", Nullable: true,
		Type: varlink.Enum("Ownership", string(machd.OwnershipMap), string(machd.OwnershipFlat)),
	}
)

// ownMachineInterface is what can be done to machines beyond the stock
// interface, which has exactly the members of systemd-machined.
var ownMachineInterface = varlink.Interface[*API]{
	Name:    machd.MachineVarlink,
	Doc:     "What machd can do beyond io.systemd.Machine, whose errors its methods give as well",
	Methods: withReasons(machd.MachineVarlink, slices.Concat(ownMachineMethods, launchMethods, runMethods, stopMethods, execMethods, overviewMethods, usageMethods, networkMethods, diagnoseMethods)),
	Errors: []varlink.ErrorType{
		failed,
		{Name: "TooSlow", Doc: "The subscriber has not read for so long that changes are lost; it is hung up on"},
		startFailed,
	},
}

var ownMachineMethods = []varlink.Method[*API]{
	{
		Name: "Subscribe",
		Doc:  "Tells of each machine there is ('present'), once that it was all ('listed', without a machine), and then of each that comes or goes ('added', 'removed', as it was last)",
		Out: varlink.Fields{
			{Name: "event", Type: ownEvent},
			{Name: "machine", Type: ownMachine, Nullable: true},
		},
		More: varlink.OnlyStream,
		Func: subscribe,
	},
	{
		Name:   "BindMount",
		Doc:    "Shows a file or directory of the host in a machine, with the same owners there if it has user IDs of its own",
		In:     onMachine(source, destination, readOnly, makeDir),
		Access: machd.ActionBind,
		Func:   ownBindMount,
	},
	{
		Name:   "Unbind",
		Doc:    "Takes away what a bind mount has put at the destination",
		In:     onMachine(varlink.Field{Name: "destination", Type: varlink.String, Valid: isNormalPath}),
		Access: machd.ActionBind,
		Func:   ownUnbind,
	},
	{
		Name:   "CopyFrom",
		Doc:    "Copies a file or directory of a machine to the host",
		In:     onMachine(source, destination, replace, ownership),
		Out:    progressOut,
		More:   varlink.Streams,
		Access: machd.ActionCopy,
		Func:   ownCopyFrom,
	},
	{
		Name:   "CopyTo",
		Doc:    "Copies a file or directory of the host to a machine",
		In:     onMachine(source, destination, replace, ownership),
		Out:    progressOut,
		More:   varlink.Streams,
		Access: machd.ActionCopy,
		Func:   ownCopyTo,
	},
}

// ownImageInterface is the same for images.
var ownImageInterface = varlink.Interface[*API]{
	Name:    machd.MachineImageVarlink,
	Doc:     "What machd can do beyond io.systemd.MachineImage, whose errors its methods give as well",
	Methods: withReasons(machd.MachineImageVarlink, slices.Concat(ownImageMethods, makeMethods)),
	Errors:  []varlink.ErrorType{failed},
}

var ownImageMethods = []varlink.Method[*API]{
	{
		Name: "Remove",
		Doc:  "Removes an image, and keeps what is below /etc unless told otherwise",
		In: varlink.Fields{
			imageName, interactive,
			{Name: "settings", Doc: "Remove the settings files below /etc too, and what starts it with the host", Type: varlink.Bool, Nullable: true},
		},
		Out: progressOut, More: varlink.Streams,
		Access: machd.ActionManageImages,
		Func:   ownRemoveImage,
	},
	{
		Name: "Clone",
		Doc:  "Copies an image, which nobody sees before it is whole",
		In: varlink.Fields{
			imageName, interactive, newName,
			{Name: "readOnly", Doc: "Of the copy", Type: varlink.Bool, Nullable: true},
		},
		Out: progressOut, More: varlink.Streams,
		Access: machine1.ActionManageImages,
		Func:   ownCloneImage,
	},
}

// ownBindMount serves machines with user namespaces as well.
func ownBindMount(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	return nil, a.bind(ctx, c, access.OwnBind,
		inside.Bind{ReadOnly: c.In.Bool("readOnly"), MakeDir: c.In.Bool("mkdir"), IDMapped: true})
}

func ownUnbind(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	m, err := a.find(ctx, c)
	switch {
	case err != nil:
		return nil, err
	case m.Class != machine1.ClassContainer:
		return nil, errNotSupported
	}
	_, destination, err := inside.CheckBind(c.In.String("destination"), "")
	if err != nil {
		return nil, err
	}
	m, err = a.authorize(ctx, c, m, access.OwnUnbind, map[string]string{"machine": m.Name, "dest": destination})
	if err != nil {
		return nil, err
	}
	leader, err := enter(m)
	if err != nil {
		return nil, err
	}
	return nil, a.Inside.Unbind(ctx, leader, destination)
}

func ownCopyFrom(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	return following(ctx, c, func(ctx context.Context) error {
		return a.copy(ctx, c, access.OwnCopyFrom, a.Inside.CopyFrom, ownershipOf(c))
	})
}

func ownCopyTo(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	return following(ctx, c, func(ctx context.Context) error {
		return a.copy(ctx, c, access.OwnCopyTo, a.Inside.CopyTo, ownershipOf(c))
	})
}

func ownershipOf(c *varlink.Call) inside.Ownership {
	if c.In.String("ownership") == string(machd.OwnershipFlat) {
		return inside.OwnershipFlat
	}
	return inside.OwnershipMapped
}

// ownRemoveImage keeps what a human wrote below /etc unless told otherwise.
func ownRemoveImage(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	keep, removed := image.KeepSettings, "0"
	if c.In.Bool("settings") {
		keep, removed = image.RemoveAll, "1"
	}
	return following(ctx, c, func(ctx context.Context) error {
		return a.removeImage(ctx, c, access.OwnRemoveImage, map[string]string{"settings": removed}, keep)
	})
}

func ownCloneImage(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	return following(ctx, c, func(ctx context.Context) error {
		_, err := cloneImage(ctx, a, c)
		return err
	})
}
