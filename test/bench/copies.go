package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// What is copied: as many small files as a large program has, and one file as
// large as a disk of a small machine.
const (
	smallFiles  = 20000
	smallPerDir = 100
	largeFile   = 512 << 20 // bytes

	// copiesDir is on the file system of the images, and none.
	copiesDir = "/var/lib/machines/.bench-copies"
	// copyGuest is where copies go; nobody starts it a second time.
	copyGuest = "bench-copies"
)

// A copying is one thing to do, by cp(1) or rm(1), and by the client of each
// daemon. Each makes or removes the same, whose path is target.
type copying struct {
	name    string
	plain   []string
	clients []string // arguments of either client
	target  string   // what is made; removed again before the next one
	source  string   // what is removed is copied from there before
}

func copyings() []copying {
	images := filepath.Dir(plainImage)
	small, large := filepath.Join(copiesDir, "small"), filepath.Join(copiesDir, "large")
	inside := filepath.Join(images, copyGuest, "root")
	out := filepath.Join(copiesDir, "out")
	clone := filepath.Join(images, "bench-clone")
	return []copying{
		{"copy-to, 20,000 files", []string{"cp", "-a", small, inside + "/copy"}, []string{"copy-to", copyGuest, small, "/root/copy"}, inside + "/copy", ""},
		{"copy-to, 512 MiB", []string{"cp", "-a", large, inside + "/copy"}, []string{"copy-to", copyGuest, large, "/root/copy"}, inside + "/copy", ""},
		{"copy-from, 20,000 files", []string{"cp", "-a", inside + "/small", out}, []string{"copy-from", copyGuest, "/root/small", out}, out, ""},
		{"clone, Debian", []string{"cp", "-a", bootingImage, clone}, []string{"clone", filepath.Base(bootingImage), "bench-clone"}, clone, ""},
		{"remove, Debian", []string{"rm", "-rf", clone}, []string{"remove", "bench-clone"}, "", clone},
	}
}

// measureCopies prints what copies, clones and removals take, beside cp and rm.
// Who takes part runs ahead of the rest of the host.
func measureCopies(rounds int) error {
	defer os.RemoveAll(copiesDir)
	if err := makeCopySources(); err != nil {
		return err
	}
	if err := startCopyGuest(); err != nil {
		return err
	}
	defer endCopyGuest()
	brokers, err := brokerPIDs()
	if err != nil {
		return err
	}
	if err := setRealtime(append(brokers, os.Getpid())...); err != nil {
		return err
	}
	fmt.Printf("\ncopies, ms, median of %d\n\n%-24s  %10s  %10s  %10s  %8s  %10s\n", rounds,
		"", "cp, rm", "machinectl", "machctl", "of cp", "of machinectl")
	for _, c := range copyings() {
		took := map[string][]time.Duration{}
		for round := range rounds + 1 { // the first one warms up
			for _, who := range []string{"plain", stock, ours} {
				one, err := c.measure(who)
				if err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
				if round > 0 {
					took[who] = append(took[who], one)
				}
			}
		}
		var ms []float64
		for _, who := range []string{"plain", stock, ours} {
			slices.Sort(took[who])
			ms = append(ms, took[who][rounds/2].Seconds()*1000)
		}
		fmt.Printf("%-24s  %10.0f  %10.0f  %10.0f  %8.2f  %10.2f\n", c.name, ms[0], ms[1], ms[2], ms[2]/ms[0], ms[2]/ms[1])
	}
	return nil
}

// measure has it done once, by plain programs or by a daemon.
func (c copying) measure(who string) (took time.Duration, err error) {
	argv := c.plain
	switch who {
	case stock:
		argv = append([]string{"machinectl"}, c.clients...)
	case ours:
		argv = append([]string{"machctl"}, c.clients...)
		if c.source != "" {
			argv = append(argv, "--yes")
		}
	}
	if who != "plain" {
		if err := swapTo(who); err != nil {
			return 0, err
		}
		pid, err := daemonPID()
		if err != nil {
			return 0, err
		}
		if err := setRealtime(pid); err != nil {
			return 0, err
		}
	}
	if c.source != "" {
		if err := command("cp", "-a", bootingImage, c.source); err != nil {
			return 0, err
		}
	}
	unix.Sync() // what others have to write is not ours
	begin := time.Now()
	if err := command(argv...); err != nil {
		return 0, err
	}
	took = time.Since(begin)
	if c.target == "" {
		return took, nil
	}
	return took, os.RemoveAll(c.target)
}

func makeCopySources() error {
	content := make([]byte, 4096)
	for i := range content {
		content[i] = byte(i * 7)
	}
	for i := range smallFiles {
		dir := filepath.Join(copiesDir, "small", fmt.Sprintf("%03d", i/smallPerDir))
		if i%smallPerDir == 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), content[:1000+i*37%3000], 0o644); err != nil {
			return err
		}
	}
	return command("dd", "if=/dev/urandom", "of="+filepath.Join(copiesDir, "large"), "bs=1M", fmt.Sprintf("count=%d", largeFile>>20))
}

// startCopyGuest starts a machine, and puts into it what is to be copied from it.
func startCopyGuest() error {
	root := filepath.Join(filepath.Dir(plainImage), copyGuest)
	for _, argv := range [][]string{
		{"cp", "-a", plainImage, root},
		{"mkdir", "-p", root + "/root"},
		{"cp", "-a", filepath.Join(copiesDir, "small"), root + "/root/small"},
	} {
		if err := command(argv...); err != nil {
			return err
		}
	}
	if err := swapTo(stock); err != nil {
		return err
	}
	return command("machinectl", "start", copyGuest)
}

func endCopyGuest() {
	_ = command("systemctl", "kill", "--signal=KILL", "systemd-nspawn@"+copyGuest+".service")
	_ = command("systemctl", "stop", "systemd-nspawn@"+copyGuest+".service")
	_ = os.RemoveAll(filepath.Join(filepath.Dir(plainImage), copyGuest))
}
