package machine

import (
	"context"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/usage"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A Usage is what one machine takes of the host.
type Usage struct {
	Machine Machine // as it was when its numbers were read
	machd.Usage
}

// usageAge is how old numbers may be that are given out again. Anybody may ask
// for them, as often as he likes.
const usageAge = 200 * time.Millisecond

// usages are the numbers as they were last read. One reads at a time, and
// those who wait for him get what he read.
type usages struct {
	mu   sync.Mutex
	age  time.Duration // usageAge; tests have their own
	last []Usage       // sorted by name
	read time.Time     // all but newcomers
}

// Usage returns what each machine takes, sorted by name. The host is not among
// them.
func (m *Manager) Usage(ctx context.Context) ([]Usage, error) {
	u := &m.usages
	u.mu.Lock()
	defer u.mu.Unlock()
	known, fresh := u.last, time.Since(u.read) < u.age
	if !fresh {
		known = nil
	}
	kernel, err := usage.System()
	if err != nil {
		return nil, err
	}
	var list []Usage
	for seen := range m.View().All() {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		for len(known) > 0 && known[0].Machine.Name < seen.Name {
			known = known[1:]
		}
		if len(known) > 0 && known[0].Machine.generation == seen.generation {
			list = append(list, known[0])
			continue
		}
		cgroup, err := cgroupOf(seen)
		if err != nil {
			continue
		}
		if numbers, err := kernel.Of(cgroup); err == nil {
			list = append(list, Usage{seen, numbers})
		}
	}
	if u.last = list; !fresh {
		u.read = time.Now()
	}
	return list, nil
}

// UsageOf returns what one machine takes.
func UsageOf(m Machine) (machd.Usage, error) {
	kernel, err := usage.System()
	if err != nil {
		return machd.Usage{}, err
	}
	cgroup, err := cgroupOf(m)
	if err != nil {
		return machd.Usage{}, fmt.Errorf("cannot tell what %s takes: %w", m.Name, err)
	}
	return kernel.Of(cgroup)
}

// cgroupOf returns the cgroup that is all of a machine, from the root of the
// hierarchy: its unit's, the one below that which it has for itself, or just
// its leader's if the unit is not its own.
func cgroupOf(m Machine) (string, error) {
	if m.Class == machine1.ClassHost {
		return "", fmt.Errorf("the host is no cgroup: %w", unix.ENXIO)
	}
	leader, err := m.Leader.Cgroup()
	if err != nil {
		return "", err
	}
	cgroup := leader
	if !m.foreign {
		if cgroup, err = unitCgroup(leader, m.Unit, m.Subgroup); err != nil {
			return "", err
		}
	}
	return proc.InHierarchy(cgroup)
}

// unitCgroup returns the cgroup of a unit, or the subgroup below it, that a
// process in the cgroup leader is in.
func unitCgroup(leader, unit, subgroup string) (string, error) {
	above, rest, ok := cutPath(leader, unit)
	if !ok {
		return "", fmt.Errorf("cgroup %s is not in %s: %w", leader, unit, unix.ENXIO)
	}
	subgroup = strings.Trim(subgroup, "/")
	if subgroup != "" && rest != subgroup && !strings.HasPrefix(rest, subgroup+"/") {
		return "", fmt.Errorf("cgroup %s is not in %s of %s: %w", leader, subgroup, unit, unix.ENXIO)
	}
	return path.Join(above, subgroup), nil
}

// cutPath splits a cgroup path behind the first part that is the unit's.
func cutPath(cgroup, unit string) (above, below string, ok bool) {
	if unit == "" {
		return "", "", false
	}
	parts := strings.Split(cgroup, "/")
	for i, part := range parts {
		// A name that could be a file of the kernel's has a '_' before it.
		if part == unit || part == "_"+unit {
			return strings.Join(parts[:i+1], "/"), strings.Join(parts[i+1:], "/"), true
		}
	}
	return "", "", false
}
