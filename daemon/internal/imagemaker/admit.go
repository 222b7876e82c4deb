package imagemaker

import (
	"context"
	"fmt"
	"os"

	"github.com/machd/machd/daemon/internal/account"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/rootfs"
	"github.com/machd/machd/pkg/machd"
)

// admit lets root log in to what was made.
func (b *builder) admit(ctx context.Context, w image.Workshop) error {
	root, err := w.Tree()
	if err != nil {
		return err
	}
	if root != nil {
		defer root.Close()
		b.note = b.noteOf(root)
	}
	o := b.wish.Options
	if o.RootPassword == "" && len(o.SSHKeys) == 0 {
		return nil
	}
	err = w.Change(ctx, func(root *os.File) error { return letRootIn(root, o) })
	if err != nil && root == nil {
		return fmt.Errorf("root cannot be let in: %w", err)
	}
	return err
}

func letRootIn(root *os.File, o machd.CreateOptions) error {
	if o.RootPassword != "" {
		if err := account.SetPassword(root, "root", account.Password{Hash: o.RootPassword, Yescrypt: o.RootYescrypt}); err != nil {
			return err
		}
	}
	if len(o.SSHKeys) > 0 {
		if err := account.AddKeys(root, o.SSHKeys); err != nil {
			return fmt.Errorf("cannot add the key: %w", err)
		}
	}
	return nil
}

// noteOf says what else is to be known before somebody can use the machine.
func (b *builder) noteOf(root *os.File) string {
	has := func(paths ...string) bool {
		for _, path := range paths {
			if f, err := rootfs.Lookup(root, path); err == nil {
				f.Close()
				return true
			}
		}
		return false
	}
	switch o := b.wish.Options; {
	case b.note != "":
		return b.note
	case !has("sbin/init", "usr/lib/systemd/systemd", "lib/systemd/systemd"):
		return "It has no init and does not boot; it is there to run commands"
	case len(o.SSHKeys) > 0 && !has("usr/sbin/sshd", "usr/bin/sshd"):
		return "It has no sshd that would let the key in"
	}
	return ""
}
