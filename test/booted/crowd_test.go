package booted

import (
	"fmt"
	"os/exec"
	"sync"
	"testing"

	"github.com/machd/machd/pkg/machine1"
)

// A daemon asks the bus who its callers are, and in between has PID 1 take a
// descriptor of a process. The bus reads what it is sent in pieces.
func TestMachinesAreCreatedWhileManyAsk(t *testing.T) {
	const created, askers, calls = 10, 4, 50
	w, daemon := watch(t), pid(t)
	first := startProcess(t, "asked")
	register(t, w, "asked", first)
	openRoot := make([]rawCall, calls)
	for i := range openRoot {
		openRoot[i] = toManager("OpenMachineRootDirectory", "s", stringOf("asked"))
	}

	var crowd sync.WaitGroup
	stop := make(chan struct{})
	for range askers {
		b := dialRaw(t, "root")
		crowd.Go(func() {
			for {
				if kinds, err := b.askAll(openRoot, 1); err != nil || kinds[replyMessage] != calls {
					t.Errorf("the answers are %v, %v", kinds, err)
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for i := range created {
		createWithSleep(t, w, fmt.Sprintf("created-%d", i))
	}
	close(stop)
	crowd.Wait()
	if now := pid(t); now != daemon {
		t.Errorf("the daemon is process %d, was %d", now, daemon)
	}
}

// createWithSleep creates a machine that is a process of the test's.
func createWithSleep(t *testing.T, w *watcher, name string) {
	t.Helper()
	leader := exec.Command("sleep", "infinity")
	must(t, leader.Start())
	t.Cleanup(func() {
		leader.Process.Kill()
		leader.Wait()
	})
	if err := w.call(t, "CreateMachine", []any{name, []byte{}, "tester", "container", uint32(leader.Process.Pid), "/", []machine1.Property{}}); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}
