package booted

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/machd/machd/client"
)

// The end of a machine is not taken for that of the command.
func TestMachdExecEndsWithTheMachine(t *testing.T) {
	t.Parallel()
	const systemd, bare = "cmd-end", "cmd-end-bare"
	startGuest(t, systemd)
	startByHand(t, watch(t), bare, "--private-users=pick")
	for i, name := range []string{systemd, bare} {
		x := hold(t, name, sh("sleep $1", strconv.Itoa(7001+i)))
		eventually(t, "it sleeps", wantSleepers(strconv.Itoa(7001+i), 1))
		run(t, "kill", "-KILL", run(t, "machinectl", "show", name, "-P", "Leader"))
		o, err := x.Wait(t.Context())
		must(t, err)
		if o.Failure != "lost" || !strings.Contains(o.Message, "Machine "+name+" has ended") {
			t.Errorf("%s: %+v", name, o)
		}
		eventually(t, "nothing is left", wantSleepers(strconv.Itoa(7001+i), 0))
	}
}

// Whom nobody answers in the machine is told so, soon, and others are not kept
// waiting.
func TestMachdExecInStoppedMachine(t *testing.T) {
	t.Parallel()
	const name = "cmd-stopped"
	startGuest(t, name)
	leader := run(t, "machinectl", "show", name, "-P", "Leader")
	run(t, "kill", "-STOP", leader)
	t.Cleanup(func() { observe(t, "kill", "-CONT", leader) })
	start := time.Now()
	_, err := execIn(t, name, client.ExecCommand{Args: []string{"true"}})
	if err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > shellLimit {
		t.Errorf("it took %v", took)
	}
	run(t, "kill", "-CONT", leader)
	if got, err := execIn(t, name, client.ExecCommand{Args: []string{"true"}}); err != nil || got.Outcome.Exit == nil {
		t.Errorf("afterwards: %+v, %v", got, err)
	}
}

// Not parallel: it ends the daemon.
func TestMachdExecAndTheDaemonsEnd(t *testing.T) {
	const systemd, bare = "cmd-daemon", "cmd-daemon-bare"
	startGuest(t, systemd)
	startByHand(t, watch(t), bare, "--private-users=pick")
	for i, how := range []string{"--signal=KILL", "--signal=TERM"} {
		held := strconv.Itoa(8001 + 2*i)
		entered := strconv.Itoa(8002 + 2*i)
		x := hold(t, systemd, sh("exec sleep $1", held))
		y := hold(t, bare, sh("sleep $1 & wait; exit 6", entered))
		eventually(t, "both sleep", func() error {
			if err := wantSleepers(held, 1)(); err != nil {
				return err
			}
			return wantSleepers(entered, 1)()
		})
		run(t, "systemctl", "kill", how, theService)
		o, err := x.Wait(t.Context())
		must(t, err)
		if o.Failure != "lost" {
			t.Errorf("%s: the command ended with %+v", how, o)
		}
		run(t, "systemctl", "start", theService)
		eventually(t, "nothing is left of the command", wantSleepers(held, 0))
		wantNoRecords(t, systemd)
		// This one is held by another service.
		must(t, wantSleepers(entered, 1)())
		must(t, y.Signal(syscall.SIGTERM))
		o, err = y.Wait(t.Context())
		must(t, err)
		if o.Signal != int(syscall.SIGTERM) {
			t.Errorf("%s: the command in the machine without a service manager ended with %+v", how, o)
		}
		eventually(t, "nothing is left of that", wantSleepers(entered, 0))
	}
}

// A command that a daemon does not begin any more as it ends is begun by the one
// that follows, and none is run twice. Not parallel: it ends the daemon.
func TestMachdExecOverTheDaemonsEnd(t *testing.T) {
	const name = "cmd-over"
	startGuest(t, name)
	c, err := client.Connect(t.Context())
	must(t, err)
	defer c.Close()
	const atOnce = 40
	var running sync.WaitGroup
	over, done := make(chan struct{}), make(chan int, atOnce)
	for i := range atOnce {
		running.Go(func() {
			n := 0
			for ; ; n++ {
				select {
				case <-over:
					done <- n
					return
				default:
				}
				x, err := c.Exec(t.Context(), name, sh("echo $1 >>/root/ran", fmt.Sprintf("%d.%d", i, n)))
				if err != nil {
					// What the daemon was asked in its last moment nobody knows.
					if strings.Contains(err.Error(), "about to end") {
						t.Error(err)
					}
					continue
				}
				x.Wait(t.Context())
				x.Close()
			}
		})
	}
	for range 5 {
		time.Sleep(500 * time.Millisecond)
		run(t, "systemctl", "restart", theService)
	}
	close(over)
	running.Wait()
	asked := 0
	for range atOnce {
		asked += <-done
	}
	got, err := execIn(t, name, sh("wc -l </root/ran; sort /root/ran | uniq -d"))
	must(t, err)
	t.Logf("asked for %d, run were %q", asked, got.Stdout)
	if lines := strings.Fields(got.Stdout); len(lines) != 1 {
		t.Errorf("some were run twice: %q", lines)
	}
}

// Not parallel: it kills the service that others use.
func TestMachdExecAndTheServersEnd(t *testing.T) {
	const name = "cmd-server"
	startByHand(t, watch(t), name, "--private-users=pick")
	x := hold(t, name, sh("sleep $1", "8101"))
	eventually(t, "it sleeps", wantSleepers("8101", 1))
	run(t, "systemctl", "kill", "--signal=KILL", "machd-exec.service")
	o, err := x.Wait(t.Context())
	must(t, err)
	if o.Failure != "lost" {
		t.Errorf("the command ended with %+v", o)
	}
	eventually(t, "nothing is left of the command", wantSleepers("8101", 0))
	eventually(t, "no record is left", func() error {
		left, err := os.ReadDir("/run/machd/entered")
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d are", len(left))
		}
		return err
	})
	if got, err := execIn(t, name, sh("echo again")); err != nil || got.Stdout != "again\n" {
		t.Errorf("afterwards: %+v, %v", got, err)
	}
}

// Not parallel: it counts descriptors.
func TestMachdExecKeepsNothing(t *testing.T) {
	const systemd, bare = "cmd-many", "cmd-many-bare"
	startGuest(t, systemd)
	startByHand(t, watch(t), bare, "--private-users=pick")
	c, err := client.Connect(t.Context())
	must(t, err)
	defer c.Close()
	often := func(name string, n int) {
		for range n {
			x, err := c.Exec(t.Context(), name, client.ExecCommand{Args: []string{"true"}})
			must(t, err)
			o, err := x.Wait(t.Context())
			must(t, err)
			if o.Exit == nil || *o.Exit != 0 {
				t.Fatalf("%s: %+v", name, o)
			}
			x.Close()
		}
	}
	often(systemd, 3)
	often(bare, 3)
	before := map[string]int{}
	for _, service := range []string{theService, "machd-exec.service"} {
		before[service] = descriptorsOf(t, service)
	}
	often(systemd, 100)
	often(bare, 500)
	for service, n := range before {
		eventually(t, service+" has no more descriptors than before", func() error {
			if now := descriptorsOf(t, service); now > n+1 { // the helper that waits
				return fmt.Errorf("%d, before %d", now, n)
			}
			return nil
		})
	}
}

func descriptorsOf(t *testing.T, service string) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/" + run(t, "systemctl", "show", "-P", "MainPID", service) + "/fd")
	must(t, err)
	return len(entries)
}
