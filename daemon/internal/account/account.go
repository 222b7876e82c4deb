// Package account lets users into systems that do not run, by their files. It
// runs nothing of theirs, and follows none of their links out.
package account

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/rootfs"
	"github.com/machd/machd/pkg/machine1"
)

// maxAccounts bounds the files of accounts, bytes.
const maxAccounts = 4 << 20

// AddKeys adds lines to the authorized keys of root of the system below root.
func AddKeys(root *os.File, keys []string) error {
	home, err := rootfs.Lookup(root, "root/.")
	if err != nil {
		return err
	}
	defer home.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(home.Fd()), &stat); err != nil {
		return err
	}
	switch err := unix.Mkdirat(int(home.Fd()), ".ssh", 0o700); {
	case err == nil:
		if err := unix.Fchownat(int(home.Fd()), ".ssh", int(stat.Uid), int(stat.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
	case !errors.Is(err, unix.EEXIST):
		return err
	}
	return rootfs.Replace(root, "root/.ssh/authorized_keys", 0o600, maxAccounts, func(old []byte) ([]byte, error) {
		if len(old) > 0 && !bytes.HasSuffix(old, []byte("\n")) {
			old = append(old, '\n')
		}
		return append(old, strings.Join(keys, "\n")+"\n"...), nil
	})
}

// SetPassword sets the password of a user of the system below root, which nobody
// uses. Nothing of that system is run.
func SetPassword(root *os.File, user string, password Password) error {
	switch known, err := hasUser(root, user); {
	case errors.Is(err, fs.ErrNotExist):
		return machine1.Errorf(machine1.ErrInvalidArgs, "there is no /etc/passwd in it: it is no system, or makes its users when it is started for the first time")
	case err != nil:
		return fmt.Errorf("cannot read its users: %w", err)
	case !known:
		return machine1.Errorf(machine1.ErrInvalidArgs, "There is no user '%s' in it", user)
	}
	hash := password.hashFor(root)
	lock, err := lockAccounts(root)
	if err != nil {
		return err
	}
	defer lock.Close()
	today := strconv.FormatInt(time.Now().Unix()/(24*60*60), 10) // days since the epoch
	edit := func(old []byte) ([]byte, error) {
		if old == nil {
			return nil, fs.ErrNotExist
		}
		return setField(old, user, hash, today), nil
	}
	err = rootfs.Replace(root, "etc/shadow", 0o640, maxAccounts, edit)
	if errors.Is(err, fs.ErrNotExist) { // the password is in the other file, which everybody may read
		err = rootfs.Replace(root, "etc/passwd", 0o644, maxAccounts, func(old []byte) ([]byte, error) {
			return setField(old, user, hash, ""), nil
		})
	}
	if err != nil {
		return fmt.Errorf("cannot set the password: %w", err)
	}
	return nil
}

func hasUser(root *os.File, user string) (bool, error) {
	text, err := rootfs.ReadFile(root, "etc/passwd", maxAccounts)
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(text)) {
		if name, _, ok := strings.Cut(line, ":"); ok && name == user {
			return true, nil
		}
	}
	return false, nil
}

// setField sets the second field of a user's line, and the third one, the day of
// the change, if there is one to set. In shadow(5) a line may be missing.
func setField(text []byte, user, hash, day string) []byte {
	var out strings.Builder
	found := false
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if fields[0] == user && len(fields) > 2 && !found {
			found = true
			fields[1] = hash
			if day != "" {
				fields[2] = day
			}
			line = strings.Join(fields, ":") + "\n"
		}
		out.WriteString(line)
	}
	if !found {
		if out.Len() > 0 && !strings.HasSuffix(out.String(), "\n") {
			out.WriteByte('\n')
		}
		out.WriteString(user + ":" + hash + ":" + day + ":0:99999:7:::\n")
	}
	return []byte(out.String())
}

// lockAccounts takes the lock that programs take which change accounts. It ends
// with the file.
//
// Reference: lckpwdf(3).
func lockAccounts(root *os.File) (*os.File, error) {
	dir, err := rootfs.Lookup(root, "etc/.")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := unix.Openat(int(dir.Fd()), ".pwd.lock", unix.O_WRONLY|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock its users: %w", err)
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: 0}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lock); err != nil {
		unix.Close(fd)
		return nil, machine1.Errorf(unix.EBUSY, "its users are being changed by somebody else")
	}
	return os.NewFile(uintptr(fd), ".pwd.lock"), nil
}

// ValidHash reports whether text can be the second field of shadow(5).
func ValidHash(text string) bool { return text != "" && !strings.ContainsAny(text, ":\n\x00") }
