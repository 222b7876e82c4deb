package machine1test

import (
	"fmt"
	"os"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// makeImages are the methods of machd's that make images and keep what they were.
func (w *World) makeImages() map[string]any {
	type options = map[string]dbus.Variant
	return map[string]any{
		"CreateImage": w.createImage,
		"CloneImage": func(msg dbus.Message, name, newName string, o options) *dbus.Error {
			readOnly, _ := o["read_only"].Value().(bool)
			return w.cloneImage(msg, name, newName, readOnly)
		},
		"CleanPool": func(msg dbus.Message, mode string, _ options) ([]struct {
			Name  string
			Usage uint64
		}, *dbus.Error) {
			return w.cleanPool(msg, mode)
		},
		"MeasureImage":     func(msg dbus.Message, name string) (uint64, *dbus.Error) { return 3 << 20, w.onImage(msg, name) },
		"SetImagePassword": w.setImagePassword,
		"ListSnapshots":    w.listSnapshots,
		"CreateSnapshot": func(msg dbus.Message, name, snapshot string, o options) *dbus.Error {
			if err := w.onImage(msg, name, snapshot, o); err != nil {
				return err
			}
			image := machd.SnapshotImage(name, snapshot)
			if _, taken := w.image(image); taken {
				return Error("System.Error.EEXIST", "there is an image %q already", image)
			}
			w.AddImage(Image{ListedImage: machine1.ListedImage{Name: image, Type: "directory", Created: 1700000000000000, Usage: ^uint64(0)}})
			return nil
		},
		"RestoreSnapshot": func(msg dbus.Message, name, snapshot string, o options) (string, *dbus.Error) {
			return "before-restore-20231114T221320.000Z", w.onImage(msg, machd.SnapshotImage(name, snapshot), o)
		},
		"RemoveSnapshot": func(msg dbus.Message, name, snapshot string, o options) *dbus.Error {
			return w.onImage(msg, machd.SnapshotImage(name, snapshot), o)
		},
	}
}

// Unmeasured begins names of images of which nobody can tell how large they are.
const Unmeasured = "unmeasured"

// createImage says two lines and makes an image.
func (w *World) createImage(msg dbus.Message, name, source string, log, input []machd.Descriptor, o map[string]dbus.Variant) (uint64, string, *dbus.Error) {
	withoutSalt(o, "root_yescrypt")
	if password, ok := o["root_password"]; ok { // with salt of its own
		o["root_password"] = dbus.MakeVariant(strings.SplitAfter(password.Value().(string), "$")[2] + "…")
	}
	var files []string
	for _, d := range input {
		f := os.NewFile(uintptr(d.FD), "input")
		path, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", d.FD))
		files = append(files, path[strings.LastIndexByte(path, '/')+1:])
		f.Close()
	}
	for _, d := range log {
		f := os.NewFile(uintptr(d.FD), "log")
		fmt.Fprintf(f, "I: the first line\nI: the second line\n")
		f.Close()
	}
	if err := w.enter(msg, name, source, files, o); err != nil {
		return 0, "", err
	}
	if _, taken := w.image(name); taken {
		return 0, "", Error("System.Error.EEXIST", "there is an image %q already", name)
	}
	w.AddImage(Image{ListedImage: machine1.ListedImage{Name: name, Type: "directory", Usage: ^uint64(0)}})
	if strings.HasPrefix(name, Unmeasured) {
		return ^uint64(0), "", nil
	}
	return 64 << 20, "", nil
}

func (w *World) setImagePassword(msg dbus.Message, name, user, hash string, o map[string]dbus.Variant) *dbus.Error {
	if rest, ok := strings.CutPrefix(hash, "$6$"); ok {
		hash = "$6$" + strings.SplitAfter(rest, "$")[0] + "…"
	}
	withoutSalt(o, "yescrypt")
	return w.onImage(msg, name, user, hash, o)
}

// withoutSalt keeps what a yescrypt hash begins with.
func withoutSalt(o map[string]dbus.Variant, option string) {
	if hash, ok := o[option].Value().(string); ok {
		parameters, _, _ := strings.Cut(strings.TrimPrefix(hash, "$y$"), "$")
		o[option] = dbus.MakeVariant("$y$" + parameters + "$…")
	}
}

func (w *World) listSnapshots(msg dbus.Message, name string) ([]machd.Snapshot, *dbus.Error) {
	if err := w.enter(msg, name); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	snapshots := []machd.Snapshot{}
	for _, image := range w.images {
		of, snapshot, ok := machd.CutSnapshot(image.Name)
		if ok && (name == "" || name == of) {
			snapshots = append(snapshots, machd.Snapshot{Image: of, Name: snapshot, Created: image.Created, Usage: 5 << 20, Kind: machd.SnapshotReflink})
		}
	}
	return snapshots, nil
}
