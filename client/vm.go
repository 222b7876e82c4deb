package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/varlink"
)

// Methods that whatever runs a virtual machine offers at the machine's control
// socket.
//
// Reference: io.systemd.MachineInstance, served by systemd-vmspawn of 261 and
// later.
const (
	instancePowerOff      = "io.systemd.MachineInstance.PowerOff"
	instanceReboot        = "io.systemd.MachineInstance.Reboot"
	instanceTerminate     = "io.systemd.MachineInstance.Terminate"
	instancePause         = "io.systemd.MachineInstance.Pause"
	instanceResume        = "io.systemd.MachineInstance.Resume"
	instanceAddStorage    = "io.systemd.MachineInstance.AddStorage"
	instanceRemoveStorage = "io.systemd.MachineInstance.RemoveStorage"
)

// controlSocket returns the path of the machine's control socket, "" if it has
// none or if the daemon is not at this host, where we could reach it.
func (c *Client) controlSocket(ctx context.Context, name string) (string, error) {
	if c.sockets == "" {
		return "", nil
	}
	conn, err := varlink.Dial(ctx, filepath.Join(c.sockets, "machine/io.systemd.Machine"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		// A daemon of before 257, which knows nothing of such sockets.
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot connect to the machine manager: %w", varlinkError(theManager, err))
	}
	defer conn.Close()
	var found struct{ ControlAddress string }
	_, err = conn.Call(ctx, "io.systemd.Machine.List", map[string]string{"name": name}, &found)
	var refused *varlink.Error
	if errors.As(err, &refused) && refused.Name == "org.varlink.service.InvalidParameter" {
		return "", machine1.Errorf(machine1.ErrNoSuchMachine, "No machine '%s' known", name)
	}
	return found.ControlAddress, varlinkError(theManager, err)
}

// Services as errors call them.
const (
	theManager  = "the machine manager"
	theInstance = "what runs the machine"
	theProvider = "the provider"
)

// varlinkError gives what went wrong with a Varlink service, also without an
// answer of it, the kind that it has on the bus.
func varlinkError(service string, err error) error {
	var refused *varlink.Error
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return &kindError{machine1.ErrNoReply, fmt.Errorf("%s has hung up without an answer: %w", service, err)}
	case !errors.As(err, &refused):
		return overtime(service, err)
	}
	for _, known := range varlinkErrors {
		if known.name == refused.Name {
			return machine1.Errorf(known.err, "%s", known.text)
		}
	}
	return err
}

var varlinkErrors = []struct {
	name string
	err  error
	text string
}{
	{"io.systemd.Machine.NoSuchMachine", machine1.ErrNoSuchMachine, "No such machine known"},
	{"org.varlink.service.PermissionDenied", machine1.ErrAccessDenied, "Access denied"},
	{"io.systemd.InteractiveAuthenticationRequired", machine1.ErrInteractionRequired, "Interactive authentication required"},
	{"io.systemd.MachineInstance.NotConnected", machine1.ErrDisconnected, "the virtual machine does not answer"},
	{"io.systemd.MachineInstance.NotSupported", machine1.ErrNotSupported, "this virtual machine cannot do that"},
	{"io.systemd.MachineInstance.NoSuchStorage", machine1.ErrFileNotFound, "no such volume is attached"},
	{"io.systemd.MachineInstance.StorageExists", unix.EEXIST, "a volume of that name is attached already"},
	{"io.systemd.MachineInstance.StorageImmutable", machine1.ErrNotSupported, "it was attached when the machine started, and stays"},
	{"io.systemd.MachineInstance.BadConfig", machine1.ErrInvalidArgs, "there is no such kind of device"},
	{"io.systemd.MachineInstance.ConfigNotSupported", machine1.ErrNotSupported, "this machine cannot have such a device"},
	{"io.systemd.StorageProvider.NoSuchVolume", machine1.ErrFileNotFound, "there is no such volume"},
	{"io.systemd.StorageProvider.VolumeExists", unix.EEXIST, "there is such a volume already"},
	{"io.systemd.StorageProvider.NoSuchTemplate", machine1.ErrFileNotFound, "there is no such template"},
	{"io.systemd.StorageProvider.TypeNotSupported", machine1.ErrNotSupported, "the provider has no volumes of that type"},
	{"io.systemd.StorageProvider.WrongType", machine1.ErrInvalidArgs, "the volume is of another type"},
	{"io.systemd.StorageProvider.CreateNotSupported", machine1.ErrNotSupported, "the provider makes no volumes of that type"},
	{"io.systemd.StorageProvider.CreateSizeRequired", machine1.ErrInvalidArgs, "a new volume needs a size"},
	{"io.systemd.StorageProvider.ReadOnlyVolume", machine1.ErrAccessDenied, "the volume is read-only"},
	{"io.systemd.StorageProvider.BadTemplate", machine1.ErrInvalidArgs, "the template is for volumes of another type"},
}

// instance calls a method of what runs the machine, if that offers any: done
// says whether it does.
func (c *Client) instance(ctx context.Context, name, method string) (done bool, err error) {
	socket, err := c.controlSocket(ctx, name)
	if err != nil || socket == "" {
		return false, err
	}
	conn, err := varlink.Dial(ctx, socket)
	if err != nil {
		return true, fmt.Errorf("cannot reach what runs it: %w", varlinkError(theInstance, err))
	}
	defer conn.Close()
	_, err = conn.Call(ctx, method, nil, nil)
	return true, varlinkError(theInstance, err)
}

// orInstance has what runs a virtual machine do something, or else does it
// otherwise. A machine that nobody knows is left to that.
func (c *Client) orInstance(ctx context.Context, name, method string, otherwise func() error) error {
	done, err := c.instance(ctx, name, method)
	if errors.Is(err, machine1.ErrNoSuchMachine) {
		done, err = false, nil
	}
	if done || err != nil {
		return err
	}
	return otherwise()
}
