// Package dissect looks into disk images, and mounts what is in them, by
// systemd-dissect. What somebody else made (partition tables, verity, signatures,
// file systems) is parsed in a process that lives for a moment and not in ours.
//
// What is mounted is so in a mount namespace of a process of its own. That ends
// with us, and with it the mount and its loop device, however we end.
package dissect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/child"
	"github.com/machd/machd/pkg/machine1"
)

const (
	// Limit is how long systemd-dissect may take. It has to wait for the
	// partitions of a loop device and to mount them.
	Limit     = 30 * time.Second
	maxOutput = 1 << 20 // bytes of what it says
	// containerPolicy says which partitions count, as for systemd-nspawn.
	//
	// Reference: image-policy.c, image_policy_container.
	containerPolicy = "root=verity+signed+encrypted+unprotected+absent:" +
		"usr=verity+signed+encrypted+unprotected+absent:" +
		"home=encrypted+unprotected+absent:srv=encrypted+unprotected+absent:" +
		"esp=unprotected+absent:xbootldr=unprotected+absent:" +
		"tmp=encrypted+unprotected+absent:var=encrypted+unprotected+absent"
)

// A Description is what systemd-dissect tells of a disk image.
type Description struct {
	Hostname    string      `json:"hostname"`
	MachineID   string      `json:"machineId"`
	MachineInfo []string    `json:"machineInfo"` // KEY=value
	OSRelease   []string    `json:"osRelease"`   // KEY=value
	Partitions  []Partition `json:"mounts"`      // those that would be used
}

// A Partition is one that a system uses, or the whole disk.
type Partition struct {
	Designator string `json:"designator"` // such as "root"
	FSType     string `json:"fstype"`     // as libblkid calls it, or ""
	Verity     string `json:"verity"`     // "", "no", or in what way it is protected
	Mode       string `json:"rw"`         // "rw" or "ro"
}

// Describe looks into the disk image at path. ctx must have a deadline.
//
// Reference: discover-image.c, image_read_metadata; dissect-image.c.
func Describe(ctx context.Context, path string) (d Description, err error) {
	text, err := run(ctx, "--json=short", "--no-pager", "--read-only", "--image-policy="+containerPolicy, "--", path)
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return d, fmt.Errorf("cannot understand systemd-dissect: %w", err)
	}
	return d, nil
}

// run runs systemd-dissect, which ends with us.
func run(ctx context.Context, args ...string) ([]byte, error) {
	var out, problem bounded
	cmd := exec.CommandContext(ctx, "systemd-dissect", args...)
	cmd.Stdout, cmd.Stderr = &out, &problem
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LC_ALL=C.UTF-8"}
	// It may leave a child behind, which would keep our pipes open.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	tool, err := child.Start(cmd, unix.SIGKILL)
	if err == nil {
		err = tool.Wait()
	}
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, errNoTool
	case ctx.Err() != nil:
		return nil, cause(ctx)
	case err != nil:
		text := lastLine(problem.String())
		return nil, fmt.Errorf("%w: %s", errnoOf(text), text)
	}
	return out.Bytes(), nil
}

// errNoTool says why a disk image cannot be looked into.
var errNoTool = fmt.Errorf("systemd-dissect, which looks into disk images, is not installed: "+
	"it is in the package systemd-container: %w", unix.EOPNOTSUPP)

func cause(ctx context.Context) error {
	if err := context.Cause(ctx); errors.Is(err, machine1.ErrTimeout) {
		return err
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("systemd-dissect does not come to an end: %w", machine1.ErrTimeout)
	}
	return fmt.Errorf("%w: %w", unix.ECANCELED, ctx.Err())
}

// errnoOf is what systemd-machined makes of an image that systemd-dissect says
// this of: "Package not installed" where it is none.
//
// Reference: dissect-image.c, dissect_log_error.
func errnoOf(text string) syscall.Errno {
	for _, row := range []struct {
		text  string
		errno syscall.Errno
	}{
		{"No root partition discovered", unix.ENXIO},
		{"No suitable root partition", unix.ENXIO},
		{"Multiple suitable root partitions", unix.ENOTUNIQ},
		{"does not match image policy", unix.ERFKILL},
	} {
		if strings.Contains(text, row.text) {
			return row.errno
		}
	}
	return unix.ENOPKG
}

// lastLine is where a tool says what went wrong.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// bounded keeps maxOutput bytes of what is written to it.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxOutput {
		return 0, io.ErrShortWrite
	}
	return b.Buffer.Write(p)
}
