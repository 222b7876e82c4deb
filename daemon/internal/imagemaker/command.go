package imagemaker

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// A tool is a program of others, and where it comes from.
type tool struct {
	name    string // or a path
	pkg     string // of Debian, and most others
	makes   string // what it is for
	further string // another way out, or ""
}

// find returns its path.
func (t tool) find() (string, error) {
	path, err := exec.LookPath(t.name)
	if err == nil {
		return path, nil
	}
	text := fmt.Sprintf("%s takes %s, which this host does not have: install the package %s", t.makes, filepath.Base(t.name), t.pkg)
	if t.further != "" {
		text += ", or " + t.further
	}
	return "", machine1.Errorf(machine1.ErrNotSupported, "%s", text)
}

// environment is that of the tools. Proxies are the host's.
func environment() []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	for _, name := range []string{"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"} {
		for _, name := range []string{name, strings.ToUpper(name)} {
			if value := os.Getenv(name); value != "" {
				env = append(env, name+"="+value)
			}
		}
	}
	return env
}

// run runs a tool, and tells each line that it prints. stdin may be nil.
func (b *builder) run(ctx context.Context, t tool, stdin *os.File, args ...string) error {
	path, err := t.find()
	if err != nil {
		return err
	}
	return b.execute(ctx, path, stdin, args...)
}

func (b *builder) execute(ctx context.Context, path string, stdin *os.File, args ...string) error {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env, cmd.Dir = environment(), "/"
	if stdin != nil {
		cmd.Stdin = stdin
	}
	// What it starts is to end with it, or the tree could not be removed.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reader.Close()
	cmd.Stdout, cmd.Stderr = writer, writer
	err = cmd.Start()
	writer.Close()
	if err != nil {
		return fmt.Errorf("cannot run %s: %w", filepath.Base(path), err)
	}
	stop := context.AfterFunc(ctx, func() { reader.Close() }) // somebody may hold the other end
	defer stop()
	lines := bufio.NewScanner(reader)
	lines.Split(splitLines)
	for lines.Scan() {
		if line := lines.Text(); b.heed(line) {
			b.say(line)
		}
	}
	if err := cmd.Wait(); err != nil {
		name := filepath.Base(path)
		if path == program {
			name = "unpacking"
		}
		return machine1.Errorf(machine1.ErrJobFailed, "%s failed: %v", name, err)
	}
	return nil
}

// splitLines takes a carriage return for the end of a line, too: that is how
// progress is drawn. What is longer than a buffer is several lines.
func splitLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	const longest = 4096
	if i := bytes.IndexAny(data, "\r\n"); i >= 0 {
		return i + 1, data[:i], nil
	}
	if len(data) > 0 && (atEOF || len(data) >= longest) {
		return len(data), data, nil
	}
	return 0, nil, nil
}
