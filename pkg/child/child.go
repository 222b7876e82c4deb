// Package child starts programs that end with this process, whatever becomes of
// it, and that the caller ends before that.
package child

import (
	"bytes"
	"errors"
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
	// outputLimit is how long others may keep its outputs when it has ended.
	outputLimit = endLimit / 4
	// keptWords is how much of what a child says is kept, in bytes.
	keptWords = 4 << 10
)

// A Child is a process of ours.
type Child struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how, then
}

// Start starts a command, which gets the signal if we end before it.
func Start(cmd *exec.Cmd, signal syscall.Signal) (*Child, error) {
	c := &Child{cmd: cmd, done: make(chan struct{})}
	cmd.WaitDelay = outputLimit
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = signal
	started := make(chan error)
	go func() {
		// The signal comes when the thread ends that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			c.err = cmd.Wait()
			close(c.done)
		}
	}()
	return c, <-started
}

// Done is closed when the child has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Wait returns how the child ended: nil, an *exec.ExitError, or why nobody can
// tell.
func (c *Child) Wait() error {
	<-c.done
	if errors.Is(c.err, exec.ErrWaitDelay) {
		return nil
	}
	return c.err
}

// Status is how the child ended as a shell has it: 128 and the number of the
// signal that killed it. It waits for that.
func (c *Child) Status() int {
	<-c.done
	status, _ := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// Signal sends a signal to the child, if it has not ended.
func (c *Child) Signal(s syscall.Signal) { _ = c.cmd.Process.Signal(s) }

// End returns when the child has ended, for which it has a moment before it is
// told to.
func (c *Child) End() {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if c.EndsByItself() {
			return
		}
		c.Signal(signal)
	}
	<-c.done
}

// EndsByItself reports whether the child has ended, or does in a moment.
func (c *Child) EndsByItself() bool {
	timer := time.NewTimer(endLimit)
	defer timer.Stop()
	select {
	case <-c.done:
		return true
	case <-timer.C:
		return false
	}
}

// Words are the last that a child has said, as its standard error.
type Words struct {
	mu   sync.Mutex
	text []byte
}

func (w *Words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p...)
	if over := len(w.text) - keptWords; over > 0 {
		w.text = append([]byte{}, w.text[over:]...)
	}
	return len(p), nil
}

func (w *Words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(bytes.TrimSpace(w.text))
}
