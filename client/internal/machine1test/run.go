package machine1test

import (
	"fmt"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
)

// run runs the command on this host, as machd does in a machine of its own.
// Without one, the shell is the machine's init.
func (w *World) run(msg dbus.Message, name string, stdio []machd.Descriptor, options map[string]dbus.Variant) (dbus.UnixFD, []machd.Descriptor, string, *dbus.Error) {
	files := filesOf(stdio)
	o, parseErr := machd.ParseRunOptions(options)
	if parseErr != nil {
		closeAll(files)
		return 0, nil, "", Error("org.freedesktop.DBus.Error.InvalidArgs", "%v", parseErr)
	}
	shown := o.Variants()
	delete(shown, "wait")
	if err := w.enter(msg, name, fmt.Sprintf("%d", len(stdio)), shown); err != nil {
		closeAll(files)
		return 0, nil, "", err
	}
	return w.handOut(o.Command, files, machd.ExecOptions{Environment: o.Environment, Terminal: o.Terminal})
}
