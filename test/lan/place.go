// Package lan has the networks that a booted host is tested in: hosts outside,
// which are network namespaces joined to it, and ways to be asked, and to ask,
// from any namespace.
//
// It must not know what is tested.
package lan

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// A Place is a network namespace. The zero Place is that of this process.
type Place struct{ path string }

// Of is where a process is, for as long as it lives.
func Of(pid int) Place { return Place{fmt.Sprintf("/proc/%d/ns/net", pid)} }

func named(name string) Place { return Place{"/run/netns/" + name} }

// do has f called by a thread that is there, and ends afterwards.
func (p Place) do(f func() error) error {
	if p.path == "" {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good
		done <- func() error {
			there, err := os.Open(p.path)
			if err != nil {
				return err
			}
			defer there.Close()
			if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("cannot enter %s: %w", p.path, err)
			}
			return f()
		}()
	}()
	return <-done
}

// Listen is net.Listen there.
func (p Place) Listen(network, address string) (l net.Listener, err error) {
	err = p.do(func() error { l, err = net.Listen(network, address); return err })
	return l, err
}

// ListenPacket is net.ListenPacket there.
func (p Place) ListenPacket(network, address string) (c net.PacketConn, err error) {
	err = p.do(func() error { c, err = net.ListenPacket(network, address); return err })
	return c, err
}

// Dial connects to an address, in numbers, from there.
func (p Place) Dial(network, address string) (c net.Conn, err error) {
	dialer := net.Dialer{Timeout: answerTime}
	err = p.do(func() error { c, err = dialer.Dial(network, address); return err })
	return c, err
}

// Socket opens a socket there.
func (p Place) Socket(domain, kind, protocol int) (fd int, err error) {
	err = p.do(func() error { fd, err = unix.Socket(domain, kind|unix.SOCK_CLOEXEC, protocol); return err })
	return fd, err
}

// Command is a command that runs there.
func (p Place) Command(ctx context.Context, argv ...string) *exec.Cmd {
	if p.path != "" {
		argv = append([]string{"nsenter", "--net=" + p.path, "--"}, argv...)
	}
	return exec.CommandContext(ctx, argv[0], argv[1:]...)
}

// answerTime is how long an answer may take that comes at all.
const answerTime = 2 * time.Second
