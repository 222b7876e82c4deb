package busapi

import (
	"context"
	"slices"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machd"
)

// ownManagerInterface is what the Manager can do beyond the stock interface,
// which has exactly the members of systemd-machined. It has no properties: it
// must not show in GetAll of all interfaces.
var ownManagerInterface = vtable.Interface{
	Name:    machd.ManagerInterface,
	Methods: slices.Concat(ownFileRows, longRows, imageRows, launchRows, runRows, stopRows, execRows, overviewRows, usageRows, networkRows),
	Signals: ownSignals,
}

// ownMachineInterface is the same for a machine's object.
var ownMachineInterface = vtable.Interface{
	Name:    machd.MachineInterface,
	Methods: slices.Concat(ownFileMachineRows, launchMachineRows, stopMachineRows, execMachineRows, usageMachineRows, networkMachineRows),
}

var ownFileRows = []vtable.Method{
	{
		Name: "BindMount",
		Doc:  "Shows a file or directory of the host in a container. Unlike the stock method it does so in one with a user namespace as well, where everything has the owners that it has on the host.",
		In:   "machine source destination options", Access: machd.ActionBind, Slow: true, Func: ofMachine(ownBindMount),
	},
	{
		Name: "Unbind",
		Doc:  "Takes away what a bind mount has put at the destination.",
		In:   "machine destination options", Access: machd.ActionBind, Slow: true, Func: ofMachine(ownUnbind),
	},
	{
		Name: "CopyFrom",
		Doc:  "Copies a file or directory of a container to the host. The reply comes when all is there.",
		In:   "machine source destination options", Access: machd.ActionCopy, Slow: true, Func: ofMachine(ownCopyFrom),
	},
	{
		Name: "CopyTo",
		Doc:  "Copies a file or directory of the host to a container. The reply comes when all is there.",
		In:   "machine source destination options", Access: machd.ActionCopy, Slow: true, Func: ofMachine(ownCopyTo),
	},
	{
		Name: "RemoveImage",
		Doc:  "Removes an image. Unlike the stock method it keeps settings below `/etc`, which a human wrote.",
		In:   "name options", Access: machd.ActionManageImages, Slow: true, Func: ofImage(ownRemoveImage),
	},
}

var ownFileMachineRows = []vtable.Method{
	{
		Name: "BindMount",
		Doc:  "As the Manager's.",
		In:   "source destination options", Access: machd.ActionBind, Slow: true, Func: ownBindMount,
	},
	{
		Name: "Unbind",
		Doc:  "As the Manager's.",
		In:   "destination options", Access: machd.ActionBind, Slow: true, Func: ownUnbind,
	},
	{
		Name: "CopyFrom",
		Doc:  "As the Manager's.",
		In:   "source destination options", Access: machd.ActionCopy, Slow: true, Func: ownCopyFrom,
	},
	{
		Name: "CopyTo",
		Doc:  "As the Manager's.",
		In:   "source destination options", Access: machd.ActionCopy, Slow: true, Func: ownCopyTo,
	},
}

// options is an a{sv}.
type options = map[string]dbus.Variant

// ownBindMount serves machines with user namespaces as well.
func ownBindMount(ctx context.Context, c *vtable.Call, o machineObject, source, destination string, opts options) error {
	if err := o.mayBind(); err != nil {
		return err
	}
	parsed, err := machd.ParseBindOptions(opts)
	if err != nil {
		return err
	}
	return o.bind(ctx, c, access.OwnBind, inside.Bind{
		Source: source, Destination: destination, ReadOnly: parsed.ReadOnly, MakeDir: parsed.MakeDir, IDMapped: true,
	})
}

// ownUnbind takes away what a bind mount put there.
func ownUnbind(ctx context.Context, c *vtable.Call, o machineObject, destination string, opts options) error {
	if err := o.mayBind(); err != nil {
		return err
	}
	if err := machd.ParseNoOptions(opts); err != nil {
		return err
	}
	_, destination, err := inside.CheckBind(destination, destination)
	if err != nil {
		return err
	}
	m, err := o.ask(ctx, c, access.OwnUnbind, map[string]string{"dest": destination})
	if err != nil {
		return err
	}
	leader, err := enter(m, "")
	if err != nil {
		return err
	}
	return o.api.inside.Unbind(ctx, leader, destination)
}

func ownCopyFrom(ctx context.Context, c *vtable.Call, o machineObject, source, destination string, opts options) error {
	return o.copyWithOptions(ctx, c, access.OwnCopyFrom, o.api.inside.CopyFrom, source, destination, opts)
}

func ownCopyTo(ctx context.Context, c *vtable.Call, o machineObject, source, destination string, opts options) error {
	return o.copyWithOptions(ctx, c, access.OwnCopyTo, o.api.inside.CopyTo, source, destination, opts)
}

func (o machineObject) copyWithOptions(ctx context.Context, c *vtable.Call, rule access.Rule, do copier, source, destination string, opts options) error {
	if err := o.mayCopy(); err != nil {
		return err
	}
	parsed, err := machd.ParseCopyOptions(opts)
	if err != nil {
		return err
	}
	what := inside.Copy{Source: source, Destination: destination, Replace: parsed.Replace, Ownership: inside.OwnershipMapped}
	if parsed.Ownership == machd.OwnershipFlat {
		what.Ownership = inside.OwnershipFlat
	}
	return following(ctx, c, parsed.Progress, func(ctx context.Context) error { return o.copy(ctx, c, rule, do, what) })
}

// ownRemoveImage keeps what a human wrote below /etc unless told otherwise.
func ownRemoveImage(ctx context.Context, c *vtable.Call, o imageObject, opts options) error {
	parsed, err := machd.ParseRemoveOptions(opts)
	if err != nil {
		return err
	}
	settings := image.KeepSettings
	if parsed.Settings {
		settings = image.RemoveAll
	}
	return following(ctx, c, parsed.Progress, func(ctx context.Context) error {
		return o.remove(ctx, c, access.OwnRemoveImage, map[string]string{"settings": oneIf(parsed.Settings)}, settings)
	})
}
