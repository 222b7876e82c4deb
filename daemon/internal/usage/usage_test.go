package usage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machd"
)

// writeCgroup makes what looks like a cgroup; the file's names are below root.
func writeCgroup(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func pointer(n uint64) *uint64 { return &n }

const cpuStat = "usage_usec 1500250\nuser_usec 1000000\nsystem_usec 500250\n"

func TestOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  machd.Usage
	}{
		{"every controller", map[string]string{
			"c/cpu.stat":       cpuStat,
			"c/memory.current": "52428800\n",
			"c/pids.current":   "17\n",
			"c/io.stat":        "8:16 rbytes=1000 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:0 rbytes=5 wbytes=7 rios=1 wios=1 dbytes=9 dios=1\n253:0\n",
		}, machd.Usage{CPU: pointer(1500250), Memory: pointer(52428800), Tasks: pointer(17), IORead: pointer(1005), IOWrite: pointer(27)}},
		{"no controller", map[string]string{
			"c/cpu.stat":                       cpuStat,
			"c/cgroup.threads":                 "",
			"c/supervisor/cgroup.threads":      "11\n",
			"c/payload/cgroup.threads":         "",
			"c/payload/x/cgroup.threads":       "21\n22\n",
			"c/payload/x/cgroup.controllers":   "",
			"c/payload/y/deep/cgroup.threads":  "31\n",
			"c/payload/y/cgroup.threads":       "",
			"c/payload/y/memory.pressure_none": "",
		}, machd.Usage{CPU: pointer(1500250), Tasks: pointer(4)}},
		{"nothing done yet", map[string]string{"c/cpu.stat": "usage_usec 0\n", "c/io.stat": "", "c/pids.current": "0\n"},
			machd.Usage{CPU: pointer(0), Tasks: pointer(0), IORead: pointer(0), IOWrite: pointer(0)}},
		{"files of another kernel", map[string]string{"c/cpu.stat": "usage_nsec 5\n", "c/memory.current": "max\n", "c/pids.current": "-1\n"},
			machd.Usage{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			writeCgroup(t, root, tt.files)
			got, err := Reader{root}.Of("/c")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOfWhatIsGone(t *testing.T) {
	t.Parallel()
	if _, err := (Reader{t.TempDir()}).Of("/c"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("no cgroup: %v", err)
	}
	if err := gone(fmt.Errorf("read: %w", unix.ENODEV)); !errors.Is(err, unix.ENOENT) {
		t.Errorf("removed while it is read: %v", err)
	}
}

// A machine makes as many cgroups as it likes: they are not all walked.
func TestTasksInTooManyCgroupsAreUnknown(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	files := map[string]string{"c/cpu.stat": cpuStat, "c/cgroup.threads": "1\n"}
	for i := range maxCgroups {
		files[fmt.Sprintf("c/%d/cgroup.threads", i)] = "2\n"
	}
	writeCgroup(t, root, files)
	got, err := Reader{root}.Of("/c")
	if err != nil || got.Tasks != nil {
		t.Errorf("%v tasks, %v", got.Tasks, err)
	}
}

// The kernel's own files of the cgroup that this test runs in.
func TestSystem(t *testing.T) {
	t.Parallel()
	r, err := System()
	if err != nil {
		t.Fatal(err)
	}
	cgroup := "/"
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			cgroup = strings.TrimSpace(path)
		}
	}
	u, err := r.Of(cgroup)
	if err != nil || u.CPU == nil || u.Tasks == nil || *u.Tasks == 0 {
		t.Errorf("%+v, %v", u, err)
	}
}
