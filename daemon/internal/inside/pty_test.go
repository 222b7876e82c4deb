package inside_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/inside"
)

func TestOpenPTY(t *testing.T) {
	t.Parallel()
	for _, kind := range kindsOfIDs {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			m := startMapped(t, bare, kind.ids)
			p, err := newGuard(t).OpenPTY(t.Context(), m.leader)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			checkTerminal(t, m, p)
		})
	}
}

func TestOpenPTYOfTheHost(t *testing.T) {
	t.Parallel()
	p, err := newGuard(t).OpenPTY(t.Context(), nil)
	if err != nil {
		t.Skipf("this host gives no terminal: %v", err)
	}
	defer p.Close()
	checkMaster(t, p)
}

// checkTerminal holds p to what m's root and clients rely on.
func checkTerminal(t *testing.T, m *fakeMachine, p *inside.PTY) {
	t.Helper()
	if want := fmt.Sprintf("/dev/pts/%d", p.N); p.Path != want {
		t.Errorf("path %q, want %q", p.Path, want)
	}
	if got := m.do(t, order{Do: "owner", Path: p.Path}); got != "0:5" {
		t.Errorf("the other end belongs to %s inside, want 0:5", got)
	}
	m.do(t, order{Do: "say", Path: p.Path, Text: "from inside\n"})
	line, err := bufio.NewReader(p.Master).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "from inside" {
		t.Errorf("read %q, %v", line, err)
	}
	checkMaster(t, p)
}

// checkMaster holds p to what clients rely on.
func checkMaster(t *testing.T, p *inside.PTY) {
	t.Helper()
	flags, err := unix.FcntlInt(p.Master.Fd(), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_ACCMODE != unix.O_RDWR || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("master has flags %#x, %v", flags, err)
	}
	if flags, _ := unix.FcntlInt(p.Master.Fd(), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
		t.Error("programs would inherit the master")
	}
	peer, err := p.Peer()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	size := &unix.Winsize{Row: 11, Col: 22}
	if err := unix.IoctlSetWinsize(int(p.Master.Fd()), unix.TIOCSWINSZ, size); err != nil {
		t.Fatal(err)
	}
	got, err := unix.IoctlGetWinsize(int(peer.Fd()), unix.TIOCGWINSZ)
	if err != nil || *got != *size {
		t.Errorf("the other end is %+v, %v; want %+v", got, err, size)
	}
}

func TestWhatIsNoTerminalMultiplexer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		orders []order
		fails  string // "" if a terminal of the machine is opened all the same
	}{
		{"a link to /proc/1/root", []order{{Do: "symlink", Path: "/dev/pts/ptmx", Text: "/proc/1/root/dev/ptmx"}}, "too many levels"},
		{"a FIFO", []order{{Do: "fifo", Path: "/dev/pts/ptmx"}}, "no terminal multiplexer"},
		{"a file", []order{{Do: "write", Path: "/dev/pts/ptmx"}}, "no terminal multiplexer"},
		{"/dev/null", []order{{Do: "character", Path: "/dev/pts/ptmx", Text: "1:3"}}, "no terminal multiplexer"},
		{"/dev/tty", []order{{Do: "character", Path: "/dev/pts/ptmx", Text: "5:0"}}, "no terminal multiplexer"},
		{"a terminal", []order{{Do: "character", Path: "/dev/pts/ptmx", Text: "136:0"}}, "no terminal multiplexer"},
		{"the real device elsewhere", []order{{Do: "character", Path: "/dev/pts/ptmx", Text: "5:2"}}, "not on a devpts"},
		{"nothing", nil, "no such file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := startMachine(t, bare, false)
			m.do(t, order{Do: "unmount", Path: "/dev/pts"})
			for _, o := range test.orders {
				m.do(t, o)
			}
			p, err := newGuard(t).OpenPTY(t.Context(), m.leader)
			if err == nil {
				p.Close()
			}
			if err == nil || !strings.Contains(err.Error(), test.fails) {
				t.Errorf("got %v, want an error with %q", err, test.fails)
			}
		})
	}
}

// Not parallel: it looks at all threads of this process.
func TestThreadsWithOtherIDsAreThrownAway(t *testing.T) {
	m := startMachine(t, bare, true)
	g := newGuard(t)
	for range 50 {
		p, err := g.OpenPTY(t.Context(), m.leader)
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
	}
	eventually(t, "all threads are root's", func() bool { return strangeThreads(t) == 0 })
}

func strangeThreads(t *testing.T) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		status, err := os.ReadFile("/proc/self/task/" + e.Name() + "/status")
		if err == nil && !strings.Contains(string(status), "Uid:\t0\t0\t0\t0\n") {
			n++
		}
	}
	return n
}

func TestOpenPTYOfADeadMachine(t *testing.T) {
	t.Parallel()
	m := startMachine(t, bare, false)
	m.kill()
	if _, err := newGuard(t).OpenPTY(t.Context(), m.leader); !errors.Is(err, unix.ESRCH) {
		t.Errorf("got %v, want no such process", err)
	}
}

func BenchmarkOpenPTY(b *testing.B) {
	for _, private := range []bool{false, true} {
		b.Run("machine"+privacy(private), func(b *testing.B) {
			m := startMachine(b, bare, private)
			g := inside.NewGuard(nil)
			for b.Loop() {
				p, err := g.OpenPTY(b.Context(), m.leader)
				if err != nil {
					b.Fatal(err)
				}
				p.Close()
			}
		})
	}
}
