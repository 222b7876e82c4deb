package image

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
)

const (
	// dissectLimit is how long systemd-dissect may take. It has to wait for
	// the partitions of a loop device and to mount them.
	dissectLimit = 30 * time.Second
	maxDissected = 1 << 20 // bytes of what it says
	// containerPolicy says which partitions count, as for systemd-nspawn.
	//
	// Reference: image-policy.c, image_policy_container.
	containerPolicy = "root=verity+signed+encrypted+unprotected+absent:" +
		"usr=verity+signed+encrypted+unprotected+absent:" +
		"home=encrypted+unprotected+absent:srv=encrypted+unprotected+absent:" +
		"esp=unprotected+absent:xbootldr=unprotected+absent:" +
		"tmp=encrypted+unprotected+absent:var=encrypted+unprotected+absent"
)

// dissect has systemd-dissect look into a disk image. Partition tables,
// verity, signatures and file systems that somebody else made are parsed in a
// process that lives for a moment and not in ours. ctx must have a deadline.
//
// Reference: discover-image.c, image_read_metadata; dissect-image.c.
func dissect(ctx context.Context, path string) (Metadata, error) {
	var out, problem bounded
	tool := exec.CommandContext(ctx, "systemd-dissect", "--json=short", "--no-pager", "--read-only",
		"--image-policy="+containerPolicy, "--", path)
	tool.Stdout, tool.Stderr = &out, &problem
	tool.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LC_ALL=C.UTF-8"}
	// It may leave a child behind, which would keep our pipes open.
	tool.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	tool.Cancel = func() error { return unix.Kill(-tool.Process.Pid, unix.SIGKILL) }
	tool.WaitDelay = time.Second
	err := tool.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return Metadata{}, errNoTool
	case ctx.Err() != nil:
		return Metadata{}, cause(ctx)
	case err != nil:
		text := lastLine(problem.String())
		return Metadata{}, fmt.Errorf("%w: %s", dissectErrno(text), text)
	}
	return parseDissected(out.Bytes())
}

// dissectErrno is what systemd-machined makes of an image that systemd-dissect
// says this of: "Package not installed" where it is none.
//
// Reference: dissect-image.c, dissect_log_error.
func dissectErrno(text string) syscall.Errno {
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

func parseDissected(text []byte) (Metadata, error) {
	var said struct {
		Hostname    string   `json:"hostname"`
		MachineID   string   `json:"machineId"`
		MachineInfo []string `json:"machineInfo"`
		OSRelease   []string `json:"osRelease"`
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return Metadata{}, fmt.Errorf("cannot understand systemd-dissect: %w", err)
	}
	return Metadata{
		Hostname:    parseHostname(said.Hostname),
		MachineID:   parseMachineID(said.MachineID),
		MachineInfo: parseAssignments(said.MachineInfo),
		OSRelease:   parseAssignments(said.OSRelease),
	}, nil
}

// lastLine is where a tool says what went wrong.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// bounded keeps maxDissected bytes of what is written to it.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxDissected {
		return 0, io.ErrShortWrite
	}
	return b.Buffer.Write(p)
}
