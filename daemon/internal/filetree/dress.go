package filetree

import (
	"bytes"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// maxXAttr is the kernel's limit of a value and of a list, bytes.
	maxXAttr = 64 << 10
	// fewXAttrs is what most lists and values fit in, bytes.
	fewXAttrs = 256

	accessList        = "system.posix_acl_access"
	defaultAccessList = "system.posix_acl_default"
	capability        = "security.capability"
)

// dress gives a copy, which is as has says, what it has beside its content. The
// order matters: a new owner costs the set-user-id bit and capabilities,
// everything changes times. Both descriptors are either opened, or with O_PATH.
func (c *copier) dress(made, source int, has, stat *unix.Stat_t, opened bool) error {
	uid, gid := stat.Uid, stat.Gid
	if c.o.Owner != nil {
		var ok bool
		if uid, gid, ok = c.o.Owner(stat.Uid, stat.Gid); !ok {
			return fmt.Errorf("its owner %d:%d has no counterpart where the copy goes: %w",
				stat.Uid, stat.Gid, unix.EOVERFLOW)
		}
	}
	// Each change is a transaction of the file system.
	if has.Uid != uid || has.Gid != gid {
		if err := unix.Fchownat(made, "", int(uid), int(gid), unix.AT_EMPTY_PATH); err != nil {
			return err
		}
	}
	if has.Mode != stat.Mode {
		if err := c.chmod(made, stat, opened); err != nil {
			return err
		}
	}
	if opened || c.o.XAttrs == AllXAttrs { // only these can have user.*
		if err := c.copyXAttrs(made, source, opened); err != nil {
			return err
		}
	}
	times := []unix.Timespec{stat.Atim, stat.Mtim}
	return unix.UtimesNanoAt(made, "", times, unix.AT_EMPTY_PATH)
}

func (c *copier) chmod(made int, stat *unix.Stat_t, opened bool) error {
	const bits = 0o7777
	switch {
	case typeOf(stat) == unix.S_IFLNK:
		return nil
	case opened:
		return unix.Fchmod(made, stat.Mode&bits)
	}
	return c.fds.chmod(made, stat.Mode&bits)
}

// An attributed file has extended attributes.
type attributed struct {
	fd     int
	opened bool
}

// list returns the names, each with a NUL behind it. Most files have none, and
// that is found out without a buffer.
func (a attributed) list() ([]byte, error) {
	list := func(to []byte) (int, error) {
		if a.opened {
			return unix.Flistxattr(a.fd, to)
		}
		return unix.Listxattr(pathOf(a.fd), to)
	}
	if n, err := list(nil); err != nil || n == 0 {
		return nil, err
	}
	return attribute(make([]byte, fewXAttrs), list)
}

func (a attributed) get(name string, to []byte) (int, error) {
	if a.opened {
		return unix.Fgetxattr(a.fd, name, to)
	}
	return unix.Getxattr(pathOf(a.fd), name, to)
}

func (a attributed) set(name string, value []byte) error {
	if a.opened {
		return unix.Fsetxattr(a.fd, name, value, 0)
	}
	return unix.Setxattr(pathOf(a.fd), name, value, 0)
}

func (c *copier) copyXAttrs(made, source int, opened bool) error {
	from, to := attributed{source, opened}, attributed{made, opened}
	names, err := from.list()
	if isAny(err, unix.EOPNOTSUPP, unix.ENOSYS) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot list its attributes: %w", err)
	}
	for len(names) > 0 {
		name, rest, _ := bytes.Cut(names, []byte{0})
		names = rest
		if err := c.copyXAttr(to, from, string(name)); err != nil {
			return fmt.Errorf("attribute %s: %w", shown(string(name)), err)
		}
	}
	return nil
}

func (c *copier) copyXAttr(to, from attributed, name string) error {
	if c.o.XAttrs == UserXAttrs && !strings.HasPrefix(name, "user.") {
		return nil
	}
	value, err := attribute(make([]byte, fewXAttrs), func(to []byte) (int, error) { return from.get(name, to) })
	if isAny(err, unix.ENODATA, unix.EOPNOTSUPP) {
		return nil // gone, or not for us
	}
	if err != nil {
		return err
	}
	err = to.set(name, value)
	if isAny(err, unix.EOPNOTSUPP, unix.EPERM, unix.EINVAL) && !needed(name) {
		return nil // the other file system has none of that kind
	}
	return err
}

// needed reports whether a copy without that attribute would give somebody
// other rights to the file.
func needed(name string) bool {
	return name == capability || name == accessList || name == defaultAccessList
}

// attribute returns what get returns, which buffer may be too small for.
func attribute(buffer []byte, get func(to []byte) (int, error)) ([]byte, error) {
	n, err := get(buffer)
	if err == unix.ERANGE {
		buffer = make([]byte, maxXAttr)
		n, err = get(buffer)
	}
	if err != nil {
		return nil, err
	}
	return buffer[:n], nil
}

// dropAccessLists takes away what an empty directory inherited where it was
// made.
func dropAccessLists(dir int) error {
	for _, name := range []string{accessList, defaultAccessList} {
		if err := unix.Fremovexattr(dir, name); err != nil && !isAny(err, unix.ENODATA, unix.EOPNOTSUPP) {
			return err
		}
	}
	return nil
}
