package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// What machines are started from, both in the test host: one with systemd, one
// that a single program is enough for.
const (
	bootingImage = "/var/lib/machines/c8-ns"
	plainImage   = "/var/lib/machines/tiny"

	launched     = "bench-launch"
	launchedUnit = "systemd-nspawn@" + launched + ".service"
	crowd        = 20
)

// A launch is what it takes to start a machine, to be able to use it, and to
// end it.
type launch struct{ returned, usable, gone time.Duration }

// measureLaunches prints what starting and stopping one machine takes: by
// machinectl under systemd-machined, and by machctl under machd.
func measureLaunches(rounds int) error {
	root := filepath.Join(filepath.Dir(bootingImage), launched)
	if err := command("cp", "-a", bootingImage, root); err != nil {
		return err
	}
	defer os.RemoveAll(root)
	launches := map[string][]launch{}
	for range rounds {
		for _, daemon := range daemons {
			if err := swapTo(daemon); err != nil {
				return err
			}
			one, err := measureLaunch(map[string]string{stock: "machinectl", ours: "machctl"}[daemon])
			if err != nil {
				return fmt.Errorf("%s: %w", daemon, err)
			}
			launches[daemon] = append(launches[daemon], one)
		}
	}
	fmt.Printf("\na machine with systemd, ms, median of %d\n\n", rounds)
	fmt.Printf("%-22s  %14s  %12s  %6s\n", "", "machinectl", "machctl", "ratio")
	for _, row := range []struct {
		name string
		of   func(launch) float64
	}{
		{"start returns", func(l launch) float64 { return l.returned.Seconds() * 1000 }},
		{"start until usable", func(l launch) float64 { return l.usable.Seconds() * 1000 }},
		{"stop until gone", func(l launch) float64 { return l.gone.Seconds() * 1000 }},
	} {
		fmt.Printf("%-22s", row.name)
		printRatio(median(launches[stock], row.of), median(launches[ours], row.of))
		fmt.Println()
	}
	return measureCrowd()
}

func measureLaunch(client string) (l launch, err error) {
	begin := time.Now()
	if err := command(client, "start", launched); err != nil {
		return l, err
	}
	l.returned = time.Since(begin)
	if err := await("it can be used", func() bool { return isUsable(launched) }); err != nil {
		return l, err
	}
	l.usable = time.Since(begin)
	begin = time.Now()
	if err := command(client, "poweroff", launched); err != nil {
		return l, err
	}
	err = await("it is gone", func() bool { return !isRunning(launchedUnit) && !isRunning("machine-bench\\x2dlaunch.service") })
	l.gone = time.Since(begin)
	return l, err
}

// isUsable reports whether a machine's system has booted, as somebody would
// find out who knows nothing of machd.
func isUsable(name string) bool {
	out, _ := exec.Command("systemctl", "-M", name, "is-system-running").Output()
	state := strings.TrimSpace(string(out))
	return state == "running" || state == "degraded"
}

func isRunning(unit string) bool {
	out, _ := exec.Command("systemctl", "show", "-P", "ActiveState", unit).Output()
	state := strings.TrimSpace(string(out))
	return state != "inactive" && state != "failed"
}

// await polls as somebody does who cannot be told.
func await(what string, done func() bool) error {
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New("it takes more than a minute until " + what)
		}
	}
	return nil
}

// measureCrowd prints what starting many machines at the same time takes.
func measureCrowd() error {
	var names []string
	defer func() {
		for _, name := range names {
			_ = exec.Command("systemctl", "kill", "--signal=KILL", "systemd-nspawn@"+name+".service").Run()
			_ = exec.Command("systemctl", "stop", "systemd-nspawn@"+name+".service").Run()
			os.RemoveAll(filepath.Join(filepath.Dir(plainImage), name))
		}
	}()
	for i := range crowd {
		names = append(names, fmt.Sprintf("bench-crowd-%c", 'a'+i))
		if err := command("cp", "-a", plainImage, filepath.Join(filepath.Dir(plainImage), names[i])); err != nil {
			return err
		}
	}
	took := map[string]time.Duration{}
	for _, daemon := range daemons {
		if err := swapTo(daemon); err != nil {
			return err
		}
		start := []string{"machinectl", "start"}
		if daemon == ours {
			start = []string{"machctl", "start", "--wait=registered"}
		}
		begin := time.Now()
		if err := command(append(start, names...)...); err != nil {
			return err
		}
		took[daemon] = time.Since(begin)
		for _, name := range names {
			unit := map[string]string{stock: "systemd-nspawn@" + name, ours: "machine-" + strings.ReplaceAll(name, "-", "\\x2d")}[daemon] + ".service"
			_ = exec.Command("systemctl", "kill", "--signal=KILL", unit).Run()
			if err := await(name+" is gone", func() bool { return !isRunning(unit) }); err != nil {
				return err
			}
			_ = exec.Command("systemctl", "reset-failed", unit).Run()
		}
	}
	fmt.Printf("%-22s", fmt.Sprintf("%d at once", crowd))
	printRatio(took[stock].Seconds()*1000, took[ours].Seconds()*1000)
	fmt.Println()
	return nil
}

func command(argv ...string) error {
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot run %s: %w: %s", strings.Join(argv, " "), err, out)
	}
	return nil
}
