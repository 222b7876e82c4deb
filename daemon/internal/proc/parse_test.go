package proc

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const hybrid = "9:name=systemd:/init.scope\n8:pids:/0::/wrong\n1:cpu:/\n0::/machine.slice/a:b.scope\n"

func TestParseCgroup(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, file, want string
		ok               bool
	}{
		{"unified only", "0::/system.slice/dbus.service\n", "/system.slice/dbus.service", true},
		{"older hierarchies beside it", hybrid, "/machine.slice/a:b.scope", true},
		{"the root", "0::/\n", "/", true},
		{"no line feed at the end", "0::/a.scope", "/a.scope", true},
		{"a cgroup that was removed", "0::/a.scope (deleted)\n", "/a.scope", true},
		{"older hierarchies only", "1:name=systemd:/a.scope\n", "", false},
		{"no path", "0::\n", "", false},
		{"a relative path", "0::a.scope\n", "", false},
		{"nothing", "", "", false},
	} {
		got, err := parseCgroup([]byte(c.file))
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

func TestCgroupsAreSeenFromTheRootOfPID1(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ pid1, path, want string }{
		{"/", "/system.slice/dbus.service", "/system.slice/dbus.service"},
		{"/init.scope", "/init.scope", "/init.scope"},
		{"/docker/1/init.scope", "/docker/1/machine.slice/a.scope", "/machine.slice/a.scope"},
		{"/docker/1/init.scope", "/docker/1", "/"},
		{"/docker/1/init.scope", "/docker/12/a.scope", "/docker/12/a.scope"},
		{"/docker/1", "/docker/1/a.scope", "/a.scope"},
		{"/docker/1/system.slice", "/docker/1/a.scope", "/a.scope"},
		{"/", "/", "/"},
	} {
		if got := belowRoot(c.path, rootOf(c.pid1)); got != c.want {
			t.Errorf("%q beside PID 1 in %q: %q, want %q", c.path, c.pid1, got, c.want)
		}
	}
}

func FuzzParseCgroup(f *testing.F) {
	f.Add([]byte(hybrid), "/docker/1/init.scope")
	f.Add([]byte("0::/a.scope (deleted)\n"), "/")
	f.Fuzz(func(t *testing.T, file []byte, pid1 string) {
		path, err := parseCgroup(file)
		if err != nil {
			return
		}
		if !strings.HasPrefix(path, "/") || strings.Contains(path, "\n") {
			t.Errorf("%q is no path", path)
		}
		if below := belowRoot(path, rootOf(pid1)); !strings.HasPrefix(below, "/") {
			t.Errorf("%q below the root of %q is %q", path, pid1, below)
		}
	})
}

func TestParseIDMap(t *testing.T) {
	t.Parallel()
	file := "         0     524288      65536\n     65536 4294901760      65535\n"
	got, err := parseIDMap([]byte(file))
	want := IDMap{{0, 524288, 65536}, {65536, 4294901760, 65535}}
	if !slices.Equal(got, want) || err != nil {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"0 1\n", "0 1 2 3\n", "0 1 -1\n", "0 1 4294967296\n", "a b c\n", "\n"} {
		if got, err := parseIDMap([]byte(bad)); err == nil {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
}

func FuzzParseIDMap(f *testing.F) {
	f.Add([]byte("         0     524288      65536\n"), uint32(0))
	f.Add([]byte("0 0 4294967295"), uint32(65534))
	f.Add([]byte("0 4294967295 4294967295\n4294967295 1 4294967295\n"), uint32(1))
	f.Add([]byte(strings.Repeat("1 2 3\n", 340)), uint32(3))
	f.Fuzz(func(t *testing.T, file []byte, id uint32) {
		m, err := parseIDMap(file)
		if lines := strings.Count(string(file), "\n") + 1; err == nil && len(m) > lines {
			t.Errorf("%d ranges in %d lines", len(m), lines)
		}
		// Ranges of a hostile file may overlap, so the way back may be another.
		if outside, ok := m.Outside(id); ok {
			if _, ok := m.Inside(outside); !ok || outside == noID {
				t.Errorf("%d is %d outside, which is nothing inside", id, outside)
			}
		}
	})
}

func TestParseFDInfo(t *testing.T) {
	t.Parallel()
	const head = "pos:\t0\nflags:\t02000002\nmnt_id:\t4\nino:\t128504\n"
	for _, c := range []struct {
		name, file string
		want       int
		err        error
	}{
		{"a process", head + "Pid:\t31186\nNSpid:\t31186\n", 31186, nil},
		{"a reaped process", head + "Pid:\t-1\nNSpid:\t-1\n", 0, unix.ESRCH},
		{"a process of another namespace", head + "Pid:\t0\nNSpid:\t0\n", 0, unix.ESRCH},
		{"no pidfd", head, 0, unix.EBADF},
		{"a number that is too large", "Pid:\t4294967297\n", 0, errAny},
		{"no number", "Pid:\n", 0, errAny},
	} {
		got, err := parseFDInfo([]byte(c.file))
		if got != c.want || !errors.Is(err, c.err) && !(c.err == errAny && err != nil) {
			t.Errorf("%s: %d, %v, want %d, %v", c.name, got, err, c.want, c.err)
		}
	}
}

var errAny = errors.New("any error")

func FuzzParseFDInfo(f *testing.F) {
	f.Add([]byte("pos:\t0\nPid:\t31186\nNSpid:\t31186\n"))
	f.Add([]byte("Pid:\t-1"))
	f.Fuzz(func(t *testing.T, file []byte) {
		if pid, err := parseFDInfo(file); (err == nil) != (pid > 0) {
			t.Errorf("%d, %v", pid, err)
		}
	})
}

func TestParseStatus(t *testing.T) {
	t.Parallel()
	file := "Name:\tUid:\\n7\nTgid:\t31184\nPid:\t31184\nPPid:\t31168\nUid:\t4294967295\t0\t0\t0\nGid:\t0\t0\t0\t0\n"
	got, err := parseStatus([]byte(file))
	if want := (info{31168, 4294967295}); got != want || err != nil {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"", "PPid:\t1\n", "Uid:\t1\n", "PPid:\nUid:\n", "PPid:\tx\nUid:\t1\n"} {
		if got, err := parseStatus([]byte(bad)); err == nil {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add([]byte("Name:\tcat\nPPid:\t31168\nUid:\t0\t0\t0\t0\n"))
	f.Fuzz(func(_ *testing.T, file []byte) { parseStatus(file) })
}

// The way of kernels that cannot answer by ioctl.
func TestFDInfoAgreesWithTheKernel(t *testing.T) {
	t.Parallel()
	p, err := Open(1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.WithFD(func(fd int) error {
		pid, err := pidFromFDInfo(fd)
		if pid != 1 {
			t.Errorf("fdinfo tells of process %d, want 1", pid)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func TestStatusFileAgreesWithTheKernel(t *testing.T) {
	t.Parallel()
	p, err := Open(1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	data, err := p.read("status")
	if err != nil {
		t.Fatal(err)
	}
	read, err := parseStatus(data)
	if err != nil {
		t.Fatal(err)
	}
	asked, err := p.info()
	if read != asked || err != nil {
		t.Errorf("the file says %v, the kernel %v, %v", read, asked, err)
	}
}
