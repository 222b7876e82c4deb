// Package bus is being a client of a bus: connecting, calling with the
// interactive flag, and receiving signals in the order they were sent.
package bus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/bus/gate"
	"github.com/machd/machd/pkg/machine1"
)

// DefaultSystemAddress is where a host has its system bus.
const DefaultSystemAddress = "unix:path=/run/dbus/system_bus_socket"

// SystemAddress returns the address of the system bus: that of
// $DBUS_SYSTEM_BUS_ADDRESS, else the usual socket.
func SystemAddress() string {
	if address := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"); address != "" {
		return address
	}
	return DefaultSystemAddress
}

// UserAddress returns the address of the user's own bus: that of
// $DBUS_SESSION_BUS_ADDRESS, else the socket that his service manager keeps in
// $XDG_RUNTIME_DIR. Without either it is an error.
func UserAddress() (string, error) {
	if address := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); address != "" {
		return address, nil
	}
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		return "", errors.New("cannot find the user's bus: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set")
	}
	return "unix:path=" + dbus.EscapeBusAddressValue(dir+"/bus"), nil
}

// Dial connects to the bus at address, authenticates as this process's user
// and says Hello. Signals are delivered in the order in which they arrive.
// The connection ends with ctx.
func Dial(ctx context.Context, address string) (*dbus.Conn, error) {
	conn, err := gate.Dial(ctx, address, dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		return nil, fmt.Errorf("cannot connect to the bus at %s: %w", address, err)
	}
	if err := enter(conn); err != nil {
		return nil, err
	}
	return conn, nil
}

// DialPlain is Dial for a client that passes no descriptors, which takes less.
func DialPlain(ctx context.Context, address string) (*dbus.Conn, error) {
	conn, err := gate.DialPlain(ctx, address, dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		return nil, fmt.Errorf("cannot connect to the bus at %s: %w", address, err)
	}
	if err := enter(conn); err != nil {
		return nil, err
	}
	return conn, nil
}

// enter says Hello, or closes conn.
func enter(conn *dbus.Conn) error {
	if err := conn.Auth(nil); err != nil {
		conn.Close()
		return fmt.Errorf("cannot authenticate at the bus: %w", err)
	}
	if err := conn.Hello(); err != nil {
		conn.Close()
		return fmt.Errorf("cannot greet the bus: %w", machine1.FromBus(err))
	}
	return nil
}

// Target is the object a call goes to.
type Target struct {
	Name string // bus name
	Path dbus.ObjectPath
}

// Call calls interface.member of the target and stores the reply's values
// into out, pointers as of dbus.Store. If interactive, whoever answers may ask
// the user for a password first (ALLOW_INTERACTIVE_AUTHORIZATION, which
// godbus's BusObject.Call would drop). Errors of the other side are
// *machine1.RemoteError. The only time limit is ctx.
func Call(ctx context.Context, conn *dbus.Conn, to Target, member string, interactive bool, in []any, out ...any) error {
	call, err := Go(ctx, conn, to, member, interactive, in)
	if err != nil {
		return err
	}
	return Wait(ctx, call, out...)
}

// Go sends a call without waiting for the reply; Wait takes it. Pipelined
// calls are answered in any order, so each is waited for by itself.
func Go(ctx context.Context, conn *dbus.Conn, to Target, member string, interactive bool, in []any) (*dbus.Call, error) {
	iface, name, err := splitMember(member)
	if err != nil {
		return nil, err
	}
	msg := &dbus.Message{
		Type: dbus.TypeMethodCall,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(to.Name),
			dbus.FieldPath:        dbus.MakeVariant(to.Path),
			dbus.FieldInterface:   dbus.MakeVariant(iface),
			dbus.FieldMember:      dbus.MakeVariant(name),
		},
		Body: in,
	}
	if interactive {
		msg.Flags |= dbus.FlagAllowInteractiveAuthorization
	}
	if len(in) > 0 {
		msg.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(in...))
	}
	return conn.SendWithContext(ctx, msg, make(chan *dbus.Call, 1)), nil
}

// Wait waits for the reply to call and stores its values into out.
func Wait(ctx context.Context, call *dbus.Call, out ...any) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", machine1.ErrTimeout, ctx.Err())
	case call = <-call.Done:
	}
	if call.Err != nil {
		if errors.Is(call.Err, dbus.ErrClosed) {
			return fmt.Errorf("%w: the bus connection was closed", machine1.ErrDisconnected)
		}
		return machine1.FromBus(call.Err)
	}
	if len(out) == 0 {
		discard(call.Body)
		return nil
	}
	if err := call.Store(out...); err != nil {
		discard(call.Body)
		return fmt.Errorf("unexpected reply: %w", err)
	}
	return nil
}

// discard closes the descriptors in a reply that nobody takes.
func discard(body []any) {
	fds := map[dbus.UnixFD]bool{} // one may be there twice
	findDescriptors(reflect.ValueOf(body), fds)
	for fd := range fds {
		_ = unix.Close(int(fd))
	}
}

func findDescriptors(v reflect.Value, found map[dbus.UnixFD]bool) {
	switch v.Kind() {
	case reflect.Interface:
		findDescriptors(v.Elem(), found)
	case reflect.Slice:
		for i := range v.Len() {
			findDescriptors(v.Index(i), found)
		}
	case reflect.Map:
		for _, value := range v.Seq2() {
			findDescriptors(value, found)
		}
	case reflect.Int32:
		if fd, ok := v.Interface().(dbus.UnixFD); ok {
			found[fd] = true
		}
	}
}

func splitMember(member string) (iface, name string, err error) {
	for i := len(member) - 1; i > 0; i-- {
		if member[i] == '.' {
			return member[:i], member[i+1:], nil
		}
	}
	return "", "", fmt.Errorf("%q is no interface.member", member)
}
