package booted

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

const (
	killRounds = 150
	standers   = 42 // machines that stay, beside the eight that come and go
	registrars = 4  // clients with a service that they register and unregister again and again
	creators   = 4  // clients with a new process in each round, for CreateMachine

	// killWithin is about what a handful of calls takes, or the daemon's start.
	killWithin = 25 * time.Millisecond
)

// A machineOf is what one client knows of its machine.
type machineOf struct {
	conn   *dbus.Conn
	name   string
	pid    int
	leader *exec.Cmd // nil for a service

	is       fate
	answered int
	err      error // what no client should see
}

type fate int

const (
	gone   fate = iota // nobody registered it, or unregistering it was answered
	listed             // its registration was answered
	either             // a call about it was not answered
	dead               // its leader is
)

// However the daemon dies, no machine is lost whose registration was answered,
// and none is invented.
func TestMachdKilledAtRandom(t *testing.T) {
	w := watch(t)
	var services []*machineOf
	for i := range registrars {
		p := startProcess(t, fmt.Sprintf("kill-%d", i))
		services = append(services, &machineOf{conn: dial(t), name: fmt.Sprintf("kill-service-%d", i), pid: p.pid})
	}
	conns := make([]*dbus.Conn, creators)
	for i := range conns {
		conns[i] = dial(t)
	}
	stay := standing(t, w, "kill", standers)
	calls, kills := 0, 0
	start := time.Now()
	for round := range killRounds {
		all := slices.Clone(services)
		for i, conn := range conns {
			m := &machineOf{conn: conn, name: fmt.Sprintf("kill-scope-%d-%d", round, i)}
			m.startLeader(t)
			all = append(all, m)
		}
		kills += playRound(t, w, all)
		checkRound(t, w, slices.Concat(all, stay))
		for _, m := range all {
			calls += m.answered
			m.answered = 0
			m.endLeader()
		}
		if t.Failed() {
			t.Fatalf("that was round %d", round)
		}
	}
	t.Logf("survived: %d kills in %d rounds with %d machines, %d calls answered before them, nothing lost, in %s",
		kills, killRounds, standers+registrars+creators, calls, time.Since(start).Round(time.Second))
	if calls < killRounds {
		t.Errorf("only %d calls in %d rounds were answered before the kill", calls, killRounds)
	}
}

// playRound lets all clients call at the same time and kills the daemon. It
// returns how often.
func playRound(t *testing.T, w *watcher, all []*machineOf) (kills int) {
	t.Helper()
	callWhile(all, func() { kills = killAtRandom(t, w) })
	for _, m := range all {
		if m.err != nil {
			t.Errorf("%s: %v", m.name, m.err)
		}
		// PID 1 overlooks a process that dies while it makes the scope, and has
		// the empty scope active for ever: only those that it is done with.
		if m.leader != nil && m.answered > 0 && rand.IntN(2) == 0 {
			m.endLeader()
		}
	}
	return kills
}

// callWhile lets all clients call until the function has returned, or failed.
func callWhile(all []*machineOf, do func()) {
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for _, m := range all {
		clients.Go(func() {
			if m.leader == nil {
				m.toggle(stop)
			} else {
				m.create(rand.IntN(2) == 0)
			}
		})
	}
	defer clients.Wait()
	defer close(stop)
	do()
}

// killAtRandom kills the daemon after a moment, now and then its successor too,
// while that starts. It returns how often.
func killAtRandom(t *testing.T, w *watcher) int {
	t.Helper()
	var owner string
	must(t, bus.Call(t.Context(), w.conn, busDriver, "org.freedesktop.DBus.GetNameOwner", false, []any{machine1.BusName}, &owner))
	time.Sleep(rand.N(killWithin))
	must(t, killProcesses())
	w.awaitSignal(t, "org.freedesktop.DBus.NameOwnerChanged", machine1.BusName, owner, "")
	if rand.IntN(4) > 0 {
		return 1
	}
	time.Sleep(rand.N(2 * killWithin))
	must(t, killProcesses())
	return 2
}

// killProcesses kills what runs in the daemon's unit, be it on the bus or not.
func killProcesses() error {
	procs, err := os.ReadFile("/sys/fs/cgroup/system.slice/machd.service/cgroup.procs")
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil // it is between two lives
	}
	for _, field := range strings.Fields(string(procs)) {
		pid, convErr := strconv.Atoi(field)
		if convErr != nil {
			return convErr
		}
		unix.Kill(pid, unix.SIGKILL)
	}
	return err
}

func (m *machineOf) startLeader(t *testing.T) {
	t.Helper()
	m.leader = exec.Command("sleep", "infinity")
	must(t, m.leader.Start())
	m.pid = m.leader.Process.Pid
	t.Cleanup(m.endLeader)
}

func (m *machineOf) endLeader() {
	if m.leader != nil && m.is != dead {
		m.leader.Process.Kill()
		m.leader.Wait()
		m.is = dead
	}
}

// toggle registers and unregisters until stop is closed.
func (m *machineOf) toggle(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		var ok bool
		if m.is == gone {
			ok = m.call(listed, "RegisterMachine", m.name, []byte{}, "tester", "container", uint32(m.pid), "/")
		} else {
			ok = m.call(gone, "UnregisterMachine", m.name)
		}
		if !ok {
			return
		}
	}
}

func (m *machineOf) create(unregister bool) {
	ok := m.call(listed, "CreateMachine", m.name, []byte{}, "tester", "container", uint32(m.pid), "/", []machine1.Property{})
	if ok && unregister {
		m.call(gone, "UnregisterMachine", m.name)
	}
}

// call makes a call that leads to next. It returns false if the daemon or the
// bus died.
func (m *machineOf) call(next fate, member string, args ...any) bool {
	call, err := bus.Go(context.Background(), m.conn, manager, machine1.ManagerInterface+"."+member, false, args)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err = bus.Wait(ctx, call)
	}
	switch {
	case err == nil:
		m.is = next
		m.answered++
	case errors.Is(err, machine1.ErrNoReply), errors.Is(err, machine1.ErrDisconnected),
		errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		m.is = either
	default:
		m.err = fmt.Errorf("%s: %w", member, err)
	}
	return err == nil
}

// checkRound compares what the clients know with what the daemon says, at once,
// and with the state files when the dead have been collected.
func checkRound(t *testing.T, w *watcher, all []*machineOf) {
	t.Helper()
	// The bus may not have seen the last kill yet, and send the call to the dead.
	var names []string
	eventually(t, "the daemon answers", func() error {
		var rows []machine1.ListedMachine
		err := w.call(t, "ListMachines", nil, &rows)
		names = namesOf(rows)
		return err
	})
	var want []string
	for _, m := range all {
		there := slices.Contains(names, m.name)
		switch {
		case m.is == listed && !there:
			t.Errorf("%s is lost", m.name)
		case m.is == gone && there:
			t.Errorf("%s is there again", m.name)
		case m.is == either && there:
			m.is = listed
		case m.is == either:
			m.is = gone
		}
		if m.is == listed {
			want = append(want, m.name)
		}
	}
	slices.Sort(want)
	eventually(t, "only the machines that live are left", func() error {
		if names := w.list(t); !slices.Equal(names, want) {
			return fmt.Errorf("got %q, want %q", names, want)
		}
		files := stateFiles(t)
		links := map[string]string{}
		maps.DeleteFunc(files, func(name, target string) bool {
			if target != "" {
				links[name] = target
			}
			return target != ""
		})
		if names := slices.Sorted(maps.Keys(files)); !slices.Equal(names, want) {
			return fmt.Errorf("got the files %q, want %q", names, want)
		}
		if targets := slices.Sorted(maps.Values(links)); !slices.Equal(targets, want) {
			return fmt.Errorf("got the links %q, want one for each of %q", links, want)
		}
		return nil
	})
}
