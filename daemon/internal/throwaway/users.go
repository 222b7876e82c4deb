package throwaway

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Users says which ids of the host's a machine has. The zero value is the
// host's own.
type Users struct {
	Pick bool   // any that nobody has
	Base uint32 // the first of 65536
}

// rangeSize is how many ids every machine has.
const rangeSize = 0x10000

// Ids are picked where systemd-nspawn picks them.
//
// Reference: uid-range of container users in uid-classification.h.
const firstBase, lastBase = 0x00080000, 0x6FFF0000

// nspawnUsers has a file for each range of ids that systemd-nspawn has picked.
const nspawnUsers = "/run/systemd/nspawn-uid"

// String returns u for ParseUsers.
func (u Users) String() string {
	if u.Pick {
		return "pick"
	}
	return strconv.FormatUint(uint64(u.Base), 10)
}

// ParseUsers reads what String wrote.
func ParseUsers(text string) (Users, error) {
	if text == "pick" {
		return Users{Pick: true}, nil
	}
	base, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return Users{}, fmt.Errorf("not a first id: %q", text)
	}
	return Users{Base: uint32(base)}, nil
}

// base returns the first id. One that is picked is so only until systemd-nspawn
// takes it, which it does if it finds a root that has that owner. If somebody is
// faster, systemd-nspawn picks another one and changes all owners.
func (u Users) base() uint32 {
	if !u.Pick {
		return u.Base
	}
	for {
		base := firstBase + rand.Uint32N((lastBase-firstBase)/rangeSize+1)*rangeSize
		_, err := os.Lstat(filepath.Join(nspawnUsers, strconv.FormatUint(uint64(base), 10)))
		if errors.Is(err, os.ErrNotExist) {
			return base
		}
	}
}

// HoldArgument makes a program run Hold.
const HoldArgument = "--hold-namespace"

// Hold keeps a namespace until it is killed, or nobody is there to do that.
func Hold() { _, _ = os.Stdin.Read(make([]byte, 1)) }

// userNamespace returns one in which ids from 0 are the host's from base.
func userNamespace(base uint32) (_ *os.File, err error) {
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(base), Size: rangeSize}}
	cmd := exec.Command(program, HoldArgument)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot make a user namespace: %w", err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	return os.Open(fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid))
}
