package inside_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/inside"
)

func TestUnbindLeavesForeignMountsAlone(t *testing.T) {
	t.Parallel()
	m := startMachine(t, bare, true)
	for _, dir := range []string{"/own", "/copy", "/ours", "/plain"} {
		m.do(t, order{Do: "mkdir", Path: dir})
	}
	m.do(t, order{Do: "tmpfs", Path: "/own"})
	g := newGuard(t)
	b := inside.Bind{Source: hostTree(t), Destination: "/ours", IDMapped: true}
	if err := g.Bind(t.Context(), m.leader, "m", b); err != nil {
		t.Fatal(err)
	}
	m.do(t, order{Do: "bind", Path: "/copy", Text: "/ours"})
	const foreign, none = "was not put there", "not a mount point"
	refused := map[string]string{
		"/own": foreign, "/copy": foreign, "/proc": foreign, "/plain": none, "/ours/sub": none, "/ours/of-root": none,
		"/none": "no such file", "/": foreign, "relative": "normalized",
	}
	for path, want := range refused {
		err := g.Unbind(t.Context(), m.leader, path)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", path, err, want)
		}
	}
	m.do(t, order{Do: "tmpfs", Path: "/ours"})
	if err := g.Unbind(t.Context(), m.leader, "/ours"); err == nil || !strings.Contains(err.Error(), foreign) {
		t.Errorf("under a mount of the machine's: %v", err)
	}
	m.do(t, order{Do: "unmount", Path: "/ours"})
	if err := g.Unbind(t.Context(), m.leader, "/ours"); err != nil {
		t.Errorf("ours: %v", err)
	}
	if err := g.Unbind(t.Context(), m.leader, "/ours"); err == nil || !strings.Contains(err.Error(), none) {
		t.Errorf("ours, again: %v", err)
	}
}

func TestUnbindAFileAfterARestart(t *testing.T) {
	t.Parallel()
	m := startMachine(t, bare, true)
	records := t.TempDir()
	g, next := newGuard(t), newGuard(t)
	g.KeepBindsIn(records)
	next.KeepBindsIn(records)
	b := inside.Bind{Source: hostTree(t) + "/of-user", Destination: "/etc/file", IDMapped: true, MakeDir: true}
	if err := g.Bind(t.Context(), m.leader, "m", b); err != nil {
		t.Fatal(err)
	}
	if err := next.Unbind(t.Context(), m.leader, "/etc/file"); err != nil {
		t.Fatal(err)
	}
	if got := m.do(t, order{Do: "mounts", Path: "/etc/file"}); got != "0" {
		t.Errorf("%s mounts are left", got)
	}
	if left, err := os.ReadDir(records); err != nil || len(left) != 0 {
		t.Errorf("recorded yet: %v, %v", left, err)
	}
}

// A mount that was made in vain, because the machine has gone meanwhile, keeps
// nobody waiting.
func TestABindInAMachineThatGoes(t *testing.T) {
	t.Parallel()
	dir := hostTree(t)
	for n := range 40 {
		m, g := startMachine(t, bare, n%2 == 0), newGuard(t)
		ended := make(chan error)
		go func() {
			var err error
			for err == nil {
				err = g.Bind(t.Context(), m.leader, "m", inside.Bind{Source: dir, Destination: "/mnt", MakeDir: true, IDMapped: true})
			}
			ended <- err
		}()
		time.Sleep(time.Duration(n) * time.Millisecond / 4)
		m.kill()
		killed := time.Now()
		if err := <-ended; !errors.Is(err, unix.ESRCH) || time.Since(killed) > 4*time.Second {
			t.Errorf("after %v: %v", time.Since(killed), err)
		}
	}
}
