package machine

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

const (
	hostUnit = "-.slice"
	// hostCID is VMADDR_CID_LOCAL, where the host reaches itself.
	hostCID = 1
)

// hostMachine returns the machine that stands for the host: always there,
// never saved, never over. root is where the host's files are.
//
// Reference: machined-core.c, manager_add_host_machine.
func hostMachine(root string) (Machine, error) {
	id, err := machineID(filepath.Join(root, "etc/machine-id"))
	if err != nil {
		return Machine{}, fmt.Errorf("cannot tell the host's machine ID: %w", err)
	}
	leader, err := proc.Open(1)
	if err != nil {
		return Machine{}, fmt.Errorf("cannot open PID 1: %w", err)
	}
	m := Machine{
		Name:          machine1.Host,
		ID:            id,
		Class:         machine1.ClassHost,
		RootDirectory: "/",
		Leader:        leader,
		Unit:          hostUnit,
		VSockCID:      machine1.VSockCIDAny,
		Realtime:      bootTime(),
	}
	if _, err := os.Stat(filepath.Join(root, "dev/vsock")); err == nil {
		m.VSockCID = hostCID
	}
	return m, nil
}

func machineID(path string) (id [16]byte, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return id, err
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(raw) != len(id) {
		return id, fmt.Errorf("%s holds no machine ID", path)
	}
	return [16]byte(raw), nil
}

// bootTime returns when the kernel started, in µs since the epoch.
func bootTime() uint64 {
	return uint64(time.Now().Add(-clock(unix.CLOCK_BOOTTIME)).UnixMicro())
}

// clock returns the time that a clock of the kernel shows.
func clock(id int32) time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(id, &now); err != nil {
		return 0
	}
	return time.Duration(now.Nano())
}
