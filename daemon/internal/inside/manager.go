package inside

import (
	"context"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/bus"
)

// manager is the service manager at any system bus.
var manager = bus.Target{Name: "org.freedesktop.systemd1", Path: "/org/freedesktop/systemd1"}

const (
	managerInterface    = "org.freedesktop.systemd1.Manager"
	unitInterface       = "org.freedesktop.systemd1.Unit"
	serviceInterface    = "org.freedesktop.systemd1.Service"
	propertiesInterface = "org.freedesktop.DBus.Properties"
)

// A serviceManager is a connection to the service manager of a machine, or to
// that of the host. Errors that it answers with are *machine1.RemoteError.
type serviceManager interface {
	// call calls a method of the manager and waits for its success.
	call(ctx context.Context, member string, args ...any) error
	// number reads a property of an object that is a number.
	number(ctx context.Context, path dbus.ObjectPath, iface, name string) (int64, error)
	Close() error
}

// dialManager connects to the service manager. The caller closes the connection.
func (g *Guard) dialManager(ctx context.Context, leader *proc.PIDFD, deadline time.Time) (serviceManager, error) {
	if leader != nil {
		ctx, cancel := context.WithDeadlineCause(ctx, deadline, errSilentBus)
		defer cancel()
		return g.dialBus(ctx, leader)
	}
	// Our own bus is not hostile, and its address can be of any form. The
	// connection lives as long as the context it is dialled with.
	conn, err := bus.Dial(ctx, bus.SystemAddress())
	if err != nil {
		return nil, err
	}
	return hostManager{conn}, nil
}

// A hostManager is the host's service manager.
type hostManager struct{ *dbus.Conn }

func (m hostManager) call(ctx context.Context, member string, args ...any) error {
	return bus.Call(ctx, m.Conn, manager, managerInterface+"."+member, false, args)
}

func (m hostManager) number(ctx context.Context, path dbus.ObjectPath, iface, name string) (int64, error) {
	var value dbus.Variant
	to := bus.Target{Name: manager.Name, Path: path}
	if err := bus.Call(ctx, m.Conn, to, propertiesInterface+".Get", false, []any{iface, name}, &value); err != nil {
		return 0, err
	}
	switch n := value.Value().(type) {
	case int32:
		return int64(n), nil
	case uint64:
		return int64(n), nil
	}
	return 0, fmt.Errorf("%s is no number but a %s", name, value.Signature())
}
