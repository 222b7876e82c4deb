package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// The names of systemd-importd, which downloads, imports and exports images.
const (
	importName     = "org.freedesktop.import1"
	importPath     = dbus.ObjectPath("/org/freedesktop/import1")
	importManager  = importName + ".Manager"
	importTransfer = importName + ".Transfer"
)

var importd = bus.Target{Name: importName, Path: importPath}

// Rights that systemd-importd asks polkit about.
const (
	ActionPull           = importName + ".pull"
	ActionImport         = importName + ".import"
	ActionExport         = importName + ".export"
	ActionCancelTransfer = importName + ".cancel"
)

// An ImageClass says what images are for, and so where they are kept.
type ImageClass string

// The classes of images.
const (
	ClassMachine  ImageClass = "machine"  // in /var/lib/machines
	ClassPortable ImageClass = "portable" // portable services, in /var/lib/portables
	ClassSysext   ImageClass = "sysext"   // system extensions, in /var/lib/extensions
	ClassConfext  ImageClass = "confext"  // configuration extensions, in /var/lib/confexts
)

// ImageClasses are all of them.
var ImageClasses = []ImageClass{ClassMachine, ClassPortable, ClassSysext, ClassConfext}

// Directory returns where the images of a class are kept, "" for no class.
func (class ImageClass) Directory() string {
	switch class {
	case ClassMachine, "":
		return machine1.PoolPath
	case ClassPortable:
		return "/var/lib/portables"
	case ClassSysext:
		return "/var/lib/extensions"
	case ClassConfext:
		return "/var/lib/confexts"
	}
	return ""
}

// A ListedTransfer is a transfer of an image that goes on.
type ListedTransfer struct {
	ID       uint32
	Type     string // "pull-tar", "import-raw", "export-tar" and the like
	Class    ImageClass
	Local    string  // the image's name; "" if it gets none
	Remote   string  // where it comes from or goes to, "" if nobody can tell
	Progress float64 // from 0 to 1, NoProgress if nobody can tell
}

// NoProgress is the progress of which nobody can tell how far it is.
const NoProgress = -1.0

// progressOf takes the -DBL_MAX that stands for an unknown progress, or any
// other number that is none.
func progressOf(fraction float64) float64 {
	if !(fraction >= 0 && fraction <= 1) {
		return NoProgress
	}
	return fraction
}

// Transfers returns the transfers that go on, whoever began them, of images of
// one class or, with "", of all, sorted by name and then by number.
//
// Reference: importctl.c, list_transfers: a systemd-importd before 256 knows
// machines only, and another method.
func (c *Client) Transfers(ctx context.Context, class ImageClass) ([]ListedTransfer, error) {
	var rows []struct {
		ID                         uint32
		Type, Remote, Local, Class string
		Progress                   float64
		Path                       dbus.ObjectPath
	}
	err := c.askImportd(ctx, "ListTransfersEx", []any{string(class), uint64(0)}, &rows)
	if c.importdLacks(ctx, "ListTransfersEx", err) {
		return c.oldTransfers(ctx, class)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list transfers: %w", err)
	}
	list := make([]ListedTransfer, 0, len(rows))
	for _, r := range rows {
		list = append(list, ListedTransfer{r.ID, r.Type, ImageClass(r.Class), r.Local, r.Remote, progressOf(r.Progress)})
	}
	sortTransfers(list)
	return list, nil
}

func (c *Client) oldTransfers(ctx context.Context, class ImageClass) ([]ListedTransfer, error) {
	var rows []struct {
		ID                  uint32
		Type, Remote, Local string
		Progress            float64
		Path                dbus.ObjectPath
	}
	if err := c.askImportd(ctx, "ListTransfers", nil, &rows); err != nil {
		return nil, fmt.Errorf("cannot list transfers: %w", err)
	}
	list := []ListedTransfer{}
	if class != "" && class != ClassMachine {
		return list, nil
	}
	for _, r := range rows {
		list = append(list, ListedTransfer{r.ID, r.Type, ClassMachine, r.Local, r.Remote, progressOf(r.Progress)})
	}
	sortTransfers(list)
	return list, nil
}

func sortTransfers(list []ListedTransfer) {
	slices.SortFunc(list, func(a, b ListedTransfer) int {
		if order := strings.Compare(a.Local, b.Local); order != 0 {
			return order
		}
		return int(int64(a.ID) - int64(b.ID))
	})
}

// CancelTransfer ends a transfer and removes what it has made so far. It does
// not wait for that. ErrNoSuchTransfer says that there is none of that number.
func (c *Client) CancelTransfer(ctx context.Context, id uint32) error {
	if err := c.call(ctx, importd, importManager+".CancelTransfer", []any{id}); err != nil {
		return fmt.Errorf("cannot cancel transfer %d: %w", id, err)
	}
	return nil
}

func (c *Client) askImportd(ctx context.Context, member string, in []any, out ...any) error {
	return throughRestart(ctx, func() error { return c.call(ctx, importd, importManager+"."+member, in, out...) })
}

// importdLacks reports whether err came of a method that systemd-importd does
// not have. The bus policy of one that is too old for it refuses it like a call
// without permission, so only its own description tells.
func (c *Client) importdLacks(ctx context.Context, member string, err error) bool {
	switch {
	case errors.Is(err, machine1.ErrUnknownMethod), errors.Is(err, machine1.ErrUnknownInterface):
		return true
	case !errors.Is(err, machine1.ErrAccessDenied):
		return false
	}
	var text string
	err = c.call(ctx, importd, "org.freedesktop.DBus.Introspectable.Introspect", nil, &text)
	return err == nil && !strings.Contains(text, `"`+member+`"`)
}
