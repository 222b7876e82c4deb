package nsexec

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"github.com/machd/machd/pkg/socket"
	"golang.org/x/sys/unix"
)

// A pool has one helper ready, so that nobody waits for its start. It is safe
// for concurrent use.
type pool struct {
	program *os.File // ours, sealed
	log     *slog.Logger

	mu     sync.Mutex
	spare  *helper
	closed bool
	going  sync.WaitGroup
}

// A helper waits at the other end of conn.
type helper struct {
	conn *net.UnixConn
	cmd  *exec.Cmd
}

// close has the helper end, if it has not.
func (h *helper) close() {
	h.conn.Close()
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
}

func newPool(log *slog.Logger) (*pool, error) {
	program, err := sealedProgram()
	if err != nil {
		return nil, fmt.Errorf("cannot copy this program: %w", err)
	}
	return &pool{program: program, log: log}, nil
}

// take returns a helper, which the caller closes.
func (p *pool) take() (*helper, error) {
	p.mu.Lock()
	h := p.spare
	p.spare = nil
	p.mu.Unlock()
	if h != nil {
		return h, nil
	}
	return p.start()
}

// refill makes the next helper ready, without the caller waiting for it.
func (p *pool) refill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.spare != nil {
		return
	}
	p.going.Go(func() {
		h, err := p.start()
		if err != nil {
			p.log.Warn("Cannot start a helper.", "error", err)
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.closed || p.spare != nil {
			h.close()
			return
		}
		p.spare = h
	})
}

// discard ends a helper, without the caller waiting for it.
func (p *pool) discard(h *helper) { p.going.Go(h.close) }

// close ends what is left. Nothing else may go on.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	h := p.spare
	p.spare = nil
	p.mu.Unlock()
	p.going.Wait()
	if h != nil {
		h.close()
	}
	p.program.Close()
}

func (p *pool) start() (*helper, error) {
	conn, theirs, err := socket.Pair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	cmd := &exec.Cmd{
		Path: fmt.Sprintf("/proc/self/fd/%d", p.program.Fd()),
		Args: []string{"machd", HelperArgument},
		Env:  []string{}, // nothing of ours
		// The end of our end is what ends a helper that was never needed.
		Stdin: theirs, Stderr: os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		conn.Close()
		return nil, err
	}
	return &helper{conn, cmd}, nil
}

// sealedProgram returns a copy of this program that nobody can change: a machine
// sees it as /proc/PID/exe for a moment.
func sealedProgram() (*os.File, error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	defer self.Close()
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("machd", flags|unix.MFD_EXEC)
	if err == unix.EINVAL { // before Linux 6.3
		fd, err = unix.MemfdCreate("machd", flags)
	}
	if err != nil {
		return nil, err
	}
	writable := os.NewFile(uintptr(fd), "machd")
	defer writable.Close() // what somebody may write to is not run
	if _, err := io.Copy(writable, self); err != nil {
		return nil, err
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return nil, err
	}
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
}
