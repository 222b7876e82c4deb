// Package proc names processes by pidfd and reads what the kernel tells of
// them: cgroup, owner, namespaces, UID map. It knows nothing of machines.
//
// What was read from /proc/PID is believed only after the pidfd was asked
// once more: the PID may have been given to another process meanwhile.
package proc

import (
	"fmt"
	"os"
	"strings"
)

// BootID returns the kernel's id of this boot, 32 hex digits.
func BootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot read the boot id: %w", err)
	}
	return strings.ReplaceAll(strings.TrimSpace(string(data)), "-", ""), nil
}

// MachineID returns this host's machine id, 32 hex digits.
func MachineID() (string, error) {
	data, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return "", fmt.Errorf("cannot read the machine id: %w", err)
	}
	id := strings.TrimSpace(string(data))
	if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
		return "", fmt.Errorf("cannot use the machine id %q: it is not 32 hex digits", id)
	}
	return id, nil
}
