package ptyfwd

import (
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

func TestAPanicReachesWhoRestoresTheTerminal(t *testing.T) {
	t.Parallel()
	master, slave, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	defer master.Close()
	defer slave.Close()
	before, _ := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)

	f, err := newForwarder(master, Options{Stdin: slave, Stdout: slave})
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	func() {
		defer func() {
			if got := recover(); got != "a bug" {
				t.Errorf("recovered %v", got)
			}
		}()
		if err := f.screen.raw(); err != nil {
			t.Fatal(err)
		}
		defer f.screen.restore()
		f.running = 1
		go f.guard(func() ending { panic("a bug") })
		f.supervise(t.Context(), nil)
	}()
	if after, _ := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS); *after != *before {
		t.Errorf("modes afterwards are %+v, before %+v", after, before)
	}
}
