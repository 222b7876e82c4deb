package bus

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	// endLimit is how long a child may take to end by itself when there is
	// nobody to talk to any more, and again when it was asked to.
	endLimit = time.Second
	// keptWords is how much of what a child says is kept, in bytes.
	keptWords = 4 << 10
)

// A child is a process that ends with us, whatever becomes of us.
type child struct {
	cmd   *exec.Cmd
	words words
	done  chan struct{} // closed when it has ended
	err   error         // how, then
}

// startChild starts a program on a socket of ours. What it says goes to said,
// and is kept if that is nil.
func startChild(args []string, socket, said *os.File) (*child, error) {
	c := &child{cmd: exec.Command(args[0], args[1:]...), done: make(chan struct{})}
	c.cmd.Stdin, c.cmd.Stdout = socket, socket
	if said != nil {
		c.cmd.Stderr = said
	} else {
		c.cmd.Stderr = &c.words
	}
	// What it has left running may have its standard error.
	c.cmd.WaitDelay = endLimit / 4
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	go func() {
		// The signal comes when the thread ends that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.err = c.cmd.Wait()
			close(c.done)
		}
	}()
	return c, <-started
}

// end returns when the child has ended, which it has a moment for if nobody is
// at the other end of its socket.
func (c *child) end() {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if c.endsWithin(endLimit) {
			return
		}
		_ = c.cmd.Process.Signal(signal)
	}
	<-c.done
}

func (c *child) endsWithin(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-c.done:
		return true
	case <-timer.C:
		return false
	}
}

// words are the last that a child has said.
type words struct {
	mu   sync.Mutex
	text []byte
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p...)
	if over := len(w.text) - keptWords; over > 0 {
		w.text = append([]byte{}, w.text[over:]...)
	}
	return len(p), nil
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(bytes.TrimSpace(w.text))
}
