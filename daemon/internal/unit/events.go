package unit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

// An EventKind says what happened.
type EventKind int

// The kinds of events.
const (
	// JobRemoved: a job is over; Unit, Job and Result are set.
	JobRemoved EventKind = iota
	// UnitRemoved: PID 1 has forgotten Unit.
	UnitRemoved
	// UnitChanged: a property of Unit, such as its state, is another one.
	UnitChanged
	// Reloaded: signals may have been missed, so every unit may have changed.
	Reloaded
)

// An Event is something that happened to a unit.
type Event struct {
	Kind   EventKind
	Unit   string
	Job    dbus.ObjectPath
	Result string // done, canceled, timeout, failed, dependency, skipped, …
}

const unitPaths = managerPath + "/unit"

var matches = [][]dbus.MatchOption{
	managerSignal("JobRemoved"),
	managerSignal("UnitRemoved"),
	managerSignal("Reloading"),
	{
		dbus.WithMatchSender(busName),
		dbus.WithMatchPathNamespace(unitPaths),
		dbus.WithMatchInterface(propsInterface),
		dbus.WithMatchMember("PropertiesChanged"),
	},
	{
		dbus.WithMatchSender("org.freedesktop.DBus"),
		dbus.WithMatchInterface("org.freedesktop.DBus"),
		dbus.WithMatchMember("NameOwnerChanged"),
		dbus.WithMatchArg(0, busName),
	},
}

func managerSignal(member string) []dbus.MatchOption {
	return []dbus.MatchOption{
		dbus.WithMatchSender(busName),
		dbus.WithMatchObjectPath(managerPath),
		dbus.WithMatchInterface(managerInterface),
		dbus.WithMatchMember(member),
	}
}

// Watch has fn called for every event, in order, from Run's goroutine. It must
// be called before Run, and fn must not block.
func (m *Manager) Watch(fn func(Event)) { m.watch = fn }

// Run takes in signals until ctx ends, or returns an error once the connection
// is lost.
func (m *Manager) Run(ctx context.Context) error {
	defer m.conn.RemoveSignal(m.signals)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.conn.Context().Done():
			if ctx.Err() != nil {
				return nil
			}
			return errors.New("the connection to the bus was lost")
		case signal, ok := <-m.signals:
			if !ok {
				return errors.New("the connection to the bus was lost")
			}
			m.take(ctx, signal)
		}
	}
}

func (m *Manager) take(ctx context.Context, s *dbus.Signal) {
	switch s.Name {
	case managerInterface + ".JobRemoved":
		var id uint32
		e := Event{Kind: JobRemoved}
		if dbus.Store(s.Body, &id, &e.Job, &e.Unit, &e.Result) == nil {
			m.jobs.removed(e.Job, e.Result)
			m.watch(e)
		}
	case managerInterface + ".UnitRemoved":
		var path dbus.ObjectPath
		e := Event{Kind: UnitRemoved}
		if dbus.Store(s.Body, &e.Unit, &path) == nil && !m.reloading {
			m.watch(e)
		}
	case managerInterface + ".Reloading":
		if dbus.Store(s.Body, &m.reloading) == nil && !m.reloading {
			m.watch(Event{Kind: Reloaded})
		}
	case propsInterface + ".PropertiesChanged":
		if name, ok := UnitFromPath(s.Path); ok {
			m.watch(Event{Kind: UnitChanged, Unit: name})
		}
	case "org.freedesktop.DBus.NameOwnerChanged":
		var name, before, now string
		if dbus.Store(s.Body, &name, &before, &now) == nil && name == busName && now != "" {
			m.reexecuted(ctx)
		}
	}
}

// reexecuted follows PID 1 into its next incarnation. The call is made
// elsewhere: its reply may stand behind signals that only this goroutine takes.
func (m *Manager) reexecuted(ctx context.Context) {
	m.reloading = false
	go func() {
		if err := m.subscribe(ctx); err != nil && ctx.Err() == nil {
			m.log.Warn("cannot subscribe to the new PID 1", "error", err)
		}
	}()
	m.watch(Event{Kind: Reloaded})
}

// UnitFromPath returns the name of the unit whose object is at path.
func UnitFromPath(path dbus.ObjectPath) (string, bool) {
	label, ok := strings.CutPrefix(string(path), string(unitPaths)+"/")
	if !ok || label == "" || strings.Contains(label, "/") {
		return "", false
	}
	return machine1.UnescapeLabel(label), true
}

// recentJobs is how many ended jobs are remembered: PID 1 may announce the end
// of a job before the reply that names the job has been read.
const recentJobs = 4096

// jobs knows which jobs have ended.
type jobs struct {
	mu      sync.Mutex
	results map[dbus.ObjectPath]string
	order   []dbus.ObjectPath // of results, oldest first
	waiting map[dbus.ObjectPath][]chan string
}

func (j *jobs) init() {
	j.results = make(map[dbus.ObjectPath]string)
	j.waiting = make(map[dbus.ObjectPath][]chan string)
}

func (j *jobs) removed(job dbus.ObjectPath, result string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range j.waiting[job] {
		c <- result
	}
	delete(j.waiting, job)
	if _, known := j.results[job]; !known {
		j.order = append(j.order, job)
	}
	j.results[job] = result
	if len(j.order) > recentJobs {
		delete(j.results, j.order[0])
		j.order = j.order[1:]
	}
}

// await returns a channel that gets the result of job once.
func (j *jobs) await(job dbus.ObjectPath) chan string {
	c := make(chan string, 1)
	j.mu.Lock()
	defer j.mu.Unlock()
	if result, ended := j.results[job]; ended {
		c <- result
		return c
	}
	j.waiting[job] = append(j.waiting[job], c)
	return c
}

func (j *jobs) forget(job dbus.ObjectPath, c chan string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var rest []chan string
	for _, other := range j.waiting[job] {
		if other != c {
			rest = append(rest, other)
		}
	}
	if len(rest) == 0 {
		delete(j.waiting, job)
		return
	}
	j.waiting[job] = rest
}

// WaitJob waits until the job is over and returns how it ended, also if that
// was before the call. Run must be running.
func (m *Manager) WaitJob(ctx context.Context, job dbus.ObjectPath) (result string, err error) {
	c := m.jobs.await(job)
	select {
	case result := <-c:
		return result, nil
	case <-ctx.Done():
		m.jobs.forget(job, c)
		return "", fmt.Errorf("job %s: %w: %w", job, machine1.ErrTimeout, ctx.Err())
	}
}
