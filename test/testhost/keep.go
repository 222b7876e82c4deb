package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// pathInside is where a host has its programs.
const pathInside = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"

// A keeper is the first process of one host's name spaces: it makes the file
// systems, boots the host and runs the steps. It has nothing to clean up.
type keeper struct {
	spec
	leader int           // the host's init, in our PID name space
	ended  chan struct{} // closed when the host has ended
	steps  int           // how many were run
}

func keep(ctx context.Context, dir string) (int, error) {
	data, err := os.ReadFile(filepath.Join(dir, "spec.json"))
	if err != nil {
		return 1, err
	}
	var k keeper
	if err := json.Unmarshal(data, &k.spec); err != nil {
		return 1, err
	}
	if err := k.mount(ctx); err != nil {
		return 1, fmt.Errorf("cannot make the host's file systems: %w", err)
	}
	if err := k.install(ctx); err != nil {
		return 1, err
	}
	boot := k.boot
	if k.Virtual {
		boot = k.bootVirtual
	}
	if err := boot(ctx); err != nil {
		return 1, err
	}
	code := 0
	for _, s := range k.Steps {
		status, err := k.run(ctx, s)
		if err != nil {
			return 1, err
		}
		if code == 0 {
			code = status
		}
	}
	if !k.Virtual {
		if err := k.recordMounts(); err != nil {
			return 1, err
		}
	}
	if code != 0 && !k.Quiet {
		k.saveJournal(ctx)
	}
	return code, nil
}

func (k *keeper) path(name ...string) string {
	return filepath.Join(append([]string{k.Dir, "fs"}, name...)...)
}

// mount lays a fresh copy of the root and the guests on a tmpfs. The guests
// have a file system of their own, since an overlay takes no ID-mapped mount.
func (k *keeper) mount(ctx context.Context) error {
	// nspawn writes to /run, and its files there would outlive us.
	for _, target := range []string{"/run", k.path()} {
		if err := unix.Mount("tmpfs", target, "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("cannot mount a tmpfs on %s: %w", target, err)
		}
	}
	for _, dir := range []string{"upper", "work", "root", "machines"} {
		if err := os.Mkdir(k.path(dir), 0o755); err != nil {
			return err
		}
	}
	layers := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", k.Lower, k.path("upper"), k.path("work"))
	if err := unix.Mount("overlay", k.path("root"), "overlay", 0, layers); err != nil {
		return fmt.Errorf("cannot mount an overlay on %s: %w", k.path("root"), err)
	}
	if err := os.Chmod(k.path("machines"), 0o700); err != nil {
		return err
	}
	for name, lower := range k.Guests {
		copied := exec.CommandContext(ctx, "cp", "-a", lower, k.path("machines", name))
		if out, err := copied.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot copy the guest %s: %w: %s", name, err, out)
		}
	}
	return nil
}

// install installs and enables machd in the copy, before it boots.
func (k *keeper) install(ctx context.Context) error {
	if k.Machd == machdAbsent {
		return nil
	}
	commands := [][]string{{"make", "-s", "-C", k.Repo, "install", "DESTDIR=" + k.path("root"), "PREFIX=/usr"}}
	if k.Machd == machdEnabled {
		commands = append(commands, []string{"chroot", k.path("root"), "systemctl", "-q", "enable", "machd.service"})
	}
	for _, argv := range commands {
		if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("cannot run %s: %w\n%s", strings.Join(argv, " "), err, out)
		}
	}
	return nil
}

// inside returns a command in the host, as a child of nobody's there.
func (k *keeper) inside(ctx context.Context, program string, args ...string) *exec.Cmd {
	environment := []string{"PATH=" + pathInside, "LC_ALL=C.UTF-8", "TERM=" + os.Getenv("TERM")}
	if k.Virtual {
		return callCommand(ctx, portSocket(k.Dir, 0), order{append([]string{program}, args...), environment})
	}
	enter := []string{"--target", strconv.Itoa(k.leader), "--all", "--wd=/", "--", program}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Env = environment
	return cmd
}

// saveJournal writes the whole journal to the logs and shows its end.
func (k *keeper) saveJournal(ctx context.Context) {
	journal, err := k.inside(ctx, "journalctl", "--boot", "--no-pager", "--output=short-precise").Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testhost: cannot read the journal:", err)
		return
	}
	if err := os.WriteFile(filepath.Join(k.Dir, "logs", "journal.txt"), journal, 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "testhost: cannot save the journal:", err)
	}
	io.WriteString(os.Stderr, "testhost: end of the host's journal:\n"+lastLines(string(journal), 20))
}

func lastLines(text string, n int) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n-1):], "")
}
