package proc_test

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/machd/machd/daemon/internal/proc"
)

func TestIDMap(t *testing.T) {
	t.Parallel()
	const none = 0xffffffff
	m := proc.IDMap{{Inside: 1000, Outside: 0x80000, Count: 10}, {Inside: 0, Outside: 5, Count: 1}, {Inside: 50, Outside: none, Count: 3}, {Inside: 60, Outside: 0xfffffff0, Count: none}}
	for inside, want := range map[uint32]uint32{1000: 0x80000, 1009: 0x80009, 1010: none, 0: 5, 1: none, 50: none, 60: 0xfffffff0, 74: 0xfffffffe, 75: none, none: none} {
		got, ok := m.Outside(inside)
		if !ok {
			got = none
		}
		if got != want {
			t.Errorf("%d inside is %d, want %d", inside, got, want)
		}
		if !ok {
			continue
		}
		if back, ok := m.Inside(got); !ok || back != inside {
			t.Errorf("%d inside comes back as %d, %v", inside, back, ok)
		}
	}
	for _, outside := range []uint32{0, 4, 6, 0x7ffff, 0x8000a, none} {
		if got, ok := m.Inside(outside); ok {
			t.Errorf("%d outside is %d", outside, got)
		}
	}
	if _, ok := (proc.IDMap)(nil).Outside(0); ok {
		t.Error("a map that is not written has root")
	}
}

func TestRootIDs(t *testing.T) {
	t.Parallel()
	at := func(inside, outside, size int) syscall.SysProcIDMap {
		return syscall.SysProcIDMap{ContainerID: inside, HostID: outside, Size: size}
	}
	for _, c := range []struct {
		name       string
		uids, gids []syscall.SysProcIDMap
		uid, gid   uint32
		err        error
	}{
		{"one shift", shifted(65536), shifted(65536), base, base, nil},
		{"root is not in the first range", []syscall.SysProcIDMap{at(1, base, 100), at(0, 7, 1)}, shifted(1), 7, base, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := inUserNamespace(t, idle, c.uids, c.gids)
			uid, gid, err := p.RootIDs()
			if uid != c.uid || gid != c.gid || !errors.Is(err, c.err) {
				t.Errorf("RootIDs = %d, %d, %v, want %d, %d, %v", uid, gid, err, c.uid, c.gid, c.err)
			}
		})
	}
}

func TestThreeHundredAndFortyRanges(t *testing.T) {
	t.Parallel()
	const most = 340
	var ranges []syscall.SysProcIDMap
	for n := range most {
		ranges = append(ranges, syscall.SysProcIDMap{ContainerID: 2 * n, HostID: 1000 + 3*n, Size: 1})
	}
	p := inUserNamespace(t, idle, ranges, shifted(1))
	m, err := p.UIDMap()
	if len(m) != most || err != nil {
		t.Fatalf("%d ranges, %v", len(m), err)
	}
	if got, ok := m.Inside(1000 + 3*(most-1)); got != 2*(most-1) || !ok {
		t.Errorf("the last is %d, %v", got, ok)
	}
}

func TestNamespaceIDsTellNamespacesApart(t *testing.T) {
	t.Parallel()
	ours, err := open(t, os.Getpid()).NamespaceID("user")
	if err != nil {
		t.Fatal(err)
	}
	child, err := open(t, child(t).Process.Pid).NamespaceID("user")
	if child != ours || err != nil {
		t.Errorf("a child is in %d, %v; we in %d", child, err, ours)
	}
	other, err := inUserNamespace(t, idle, shifted(1), shifted(1)).NamespaceID("user")
	if other == ours || err != nil {
		t.Errorf("a process in another one is in %d, %v", other, err)
	}
}
