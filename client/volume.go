package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/nspawnfile"
	"github.com/machd/machd/pkg/varlink"
)

// A Volume is storage that a provider has, for a virtual machine that runs.
type Volume struct {
	Provider string // that has it: the name of its socket
	Name     string // by the provider's rules
	Device   string // what the machine sees: virtio-blk, virtio-scsi, nvme, scsi-cd; "" is virtio-blk

	Create    string // any, new or open; "" leaves it to the provider
	Template  string // what a new one is made from
	ReadOnly  *bool  // nil: if it cannot be written to
	Size      uint64 // bytes of a new one, 0 leaves it to the provider
	RequestAs string // blk, reg or dir; "" leaves it to the provider
}

// ParseVolume understands PROVIDER:VOLUME[:DEVICE][:KEY=VALUE,…] as machinectl
// does. The keys are create, template, read-only or ro, size or create-size,
// and request-as.
func ParseVolume(text string) (Volume, error) {
	v, err := parseVolume(text)
	if err != nil {
		return Volume{}, machine1.Errorf(machine1.ErrInvalidArgs, "%q is no PROVIDER:VOLUME[:DEVICE][:KEY=VALUE,…]: %s", text, err)
	}
	return v, nil
}

func parseVolume(text string) (v Volume, err error) {
	parts := strings.SplitN(text, ":", 4)
	if len(parts) < 2 || !validProvider(parts[0]) || !validVolume(parts[1]) {
		return v, errors.New("it takes the name of a provider and of a volume")
	}
	v.Provider, v.Name = parts[0], parts[1]
	if len(parts) > 2 {
		v.Device = parts[2]
	}
	if len(parts) < 4 || parts[3] == "" {
		return v, nil
	}
	for setting := range strings.SplitSeq(parts[3], ",") {
		key, value, ok := strings.Cut(setting, "=")
		if !ok {
			return v, fmt.Errorf("%q is no KEY=VALUE", setting)
		}
		if err := v.set(key, value); err != nil {
			return v, fmt.Errorf("%s: %w", key, err)
		}
	}
	return v, nil
}

// A provider's name is that of a file, and no path.
func validProvider(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.Contains(name, "/") && len(name) <= 255
}

func validVolume(name string) bool { return name != "" && len(name) <= 255 }

func (v *Volume) set(key, value string) (err error) {
	switch key {
	case "create":
		v.Create, err = oneOf(value, "any", "new", "open")
	case "template":
		v.Template = value
	case "read-only", "ro":
		if value != "auto" {
			var b bool
			b, err = nspawnfile.ParseBool(value)
			v.ReadOnly = &b
		}
	case "size", "create-size":
		v.Size, err = parseBytes(value)
	case "request-as":
		v.RequestAs, err = oneOf(value, "blk", "reg", "dir")
	default:
		return errors.New("there is no such key")
	}
	return err
}

func oneOf(value string, words ...string) (string, error) {
	if slices.Contains(words, value) {
		return value, nil
	}
	return "", fmt.Errorf("it is %s", strings.Join(words, ", "))
}

// parseBytes reads a number of bytes, with K, M, G or T for powers of 1024.
func parseBytes(text string) (uint64, error) {
	number, shift := text, 0
	if i := strings.IndexAny(text, "KMGT"); i >= 0 && i == len(text)-1 {
		number, shift = text[:i], 10*(1+strings.IndexByte("KMGT", text[i]))
	}
	n, err := strconv.ParseUint(number, 10, 63-shift)
	if err != nil || n == 0 {
		return 0, errors.New("that is no size")
	}
	return n << shift, nil
}

// Spec is the name under which the volume is attached.
func (v Volume) Spec() string { return v.Provider + ":" + v.Name }

// AttachVolume has a virtual machine that runs get one more disk. The machine is
// looked up before the volume, which may be made only then.
func (c *Client) AttachVolume(ctx context.Context, name string, v Volume) error {
	if err := c.attachVolume(ctx, name, v); err != nil {
		return fmt.Errorf("cannot attach %q to %q: %w", v.Spec(), name, err)
	}
	return nil
}

func (c *Client) attachVolume(ctx context.Context, name string, v Volume) error {
	instance, err := c.dialInstance(ctx, name)
	if err != nil {
		return err
	}
	defer instance.Close()
	provider, err := varlink.Dial(ctx, filepath.Join(c.sockets, "io.systemd.StorageProvider", v.Provider))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return machine1.Errorf(machine1.ErrFileNotFound, "there is no provider %q", v.Provider)
	case err != nil:
		return varlinkError(theProvider, err)
	}
	defer provider.Close()
	var acquired struct{ FileDescriptorIndex int }
	files, err := provider.Call(ctx, "io.systemd.StorageProvider.Acquire", v.acquire(c.interactive), &acquired)
	if err != nil {
		return varlinkError(theProvider, err)
	}
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	if i := acquired.FileDescriptorIndex; i < 0 || i >= len(files) {
		return errors.New("the provider sent no volume")
	}
	storage := map[string]any{"fileDescriptorIndex": 0, "name": v.Spec()}
	if v.Device != "" {
		storage["config"] = v.Device
	}
	_, err = instance.Call(ctx, instanceAddStorage, storage, nil, files[acquired.FileDescriptorIndex])
	return varlinkError(theInstance, err)
}

// acquire are the parameters of a provider's method.
func (v Volume) acquire(interactive bool) map[string]any {
	in := map[string]any{"name": v.Name, "allowInteractiveAuthentication": interactive}
	for key, value := range map[string]string{"createMode": v.Create, "template": v.Template, "requestAs": v.RequestAs} {
		if value != "" {
			in[key] = value
		}
	}
	if v.ReadOnly != nil {
		in["readOnly"] = *v.ReadOnly
	}
	if v.Size != 0 {
		in["createSizeBytes"] = v.Size
	}
	return in
}

// DetachVolume takes a volume from a virtual machine that runs. It is named by
// its provider and its name, as Volume.Spec is.
func (c *Client) DetachVolume(ctx context.Context, name, spec string) error {
	if err := c.detachVolume(ctx, name, spec); err != nil {
		return fmt.Errorf("cannot detach %q from %q: %w", spec, name, err)
	}
	return nil
}

func (c *Client) detachVolume(ctx context.Context, name, spec string) error {
	instance, err := c.dialInstance(ctx, name)
	if err != nil {
		return err
	}
	defer instance.Close()
	_, err = instance.Call(ctx, instanceRemoveStorage, map[string]string{"name": spec}, nil)
	return varlinkError(theInstance, err)
}

// dialInstance connects to what runs a machine.
func (c *Client) dialInstance(ctx context.Context, name string) (*varlink.Conn, error) {
	socket, err := c.controlSocket(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case socket == "" && c.sockets == "":
		return nil, machine1.Errorf(machine1.ErrNotSupported, "volumes are attached to machines of this host only")
	case socket == "":
		return nil, ErrNoControlSocket
	}
	conn, err := varlink.Dial(ctx, socket)
	if err != nil {
		return nil, fmt.Errorf("cannot reach what runs it: %w", varlinkError(theInstance, err))
	}
	return conn, nil
}
