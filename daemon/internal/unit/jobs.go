package unit

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

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

func newJobs() jobs {
	return jobs{
		results: make(map[dbus.ObjectPath]string),
		waiting: make(map[dbus.ObjectPath][]chan string),
	}
}

// WaitJob waits until the job is over and returns how it ended, also if that
// was before the call. Run must be running. The error wraps
// machine1.ErrTimeout if ctx ends first, machine1.ErrDisconnected if the
// connection does.
func (m *Manager) WaitJob(ctx context.Context, job dbus.ObjectPath) (result string, err error) {
	c := m.jobs.await(job)
	defer m.jobs.forget(job, c)
	select {
	case result := <-c:
		return result, nil
	case <-ctx.Done():
		return "", fmt.Errorf("cannot wait for job %s: %w: %w", job, machine1.ErrTimeout, ctx.Err())
	case <-m.conn.Context().Done():
		return "", fmt.Errorf("cannot wait for job %s: %w", job, machine1.ErrDisconnected)
	}
}

func (j *jobs) removed(job dbus.ObjectPath, result string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range j.waiting[job] {
		c <- result
	}
	delete(j.waiting, job)
	job, result = own(job), strings.Clone(result)
	if _, known := j.results[job]; !known {
		j.order = append(j.order, job)
	}
	j.results[job] = result
	if len(j.order) > recentJobs {
		delete(j.results, j.order[0])
		j.order = j.order[1:]
	}
}

// own copies a job that is kept. As godbus gives it, it is a few bytes of a
// 4 KiB buffer that would be kept with it.
func own(job dbus.ObjectPath) dbus.ObjectPath { return dbus.ObjectPath(strings.Clone(string(job))) }

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
	rest := slices.DeleteFunc(j.waiting[job], func(other chan string) bool { return other == c })
	if len(rest) == 0 {
		delete(j.waiting, job)
		return
	}
	j.waiting[job] = rest
}
