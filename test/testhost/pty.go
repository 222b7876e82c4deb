package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// runOnPTY runs s on a terminal of the host. systemd-run's own --pty would
// swallow the ^]^]^] that users type in there to leave a machine.
func (k *keeper) runOnPTY(ctx context.Context, s step) (int, error) {
	master, number, err := openPTY(fmt.Sprintf("/proc/%d/root/dev/pts/ptmx", k.leader))
	if err != nil {
		return 1, err
	}
	defer master.Close()
	// Held until the command has ended: PID 1 opens and closes it more than
	// once, and the last close would end our copying.
	terminal := fmt.Sprintf("/dev/pts/%d", number)
	held, err := os.OpenFile(fmt.Sprintf("/proc/%d/root%s", k.leader, terminal), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return 1, err
	}
	restore := rawTerminal(os.Stdin)
	defer restore()
	stop := followSize(master, os.Stdin)
	defer stop()

	go io.Copy(master, os.Stdin)
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(os.Stdout, master) // ends by EIO when the last user of the terminal has gone
	}()
	s.Env = append(s.Env, "TERM="+os.Getenv("TERM"))
	c := k.service(ctx, s, "--property=StandardInput=tty", "--property=StandardOutput=tty",
		"--property=StandardError=tty", "--property=TTYPath="+terminal)
	c.Stderr = os.Stderr
	status, err := c.run(ctx)
	held.Close()
	<-done
	return status, err
}

// openPTY opens a new terminal of the devpts instance with this ptmx.
func openPTY(ptmx string) (*os.File, int, error) {
	fd, err := unix.Open(ptmx, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot open %s: %w", ptmx, err)
	}
	master := os.NewFile(uintptr(fd), ptmx)
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		master.Close()
		return nil, 0, fmt.Errorf("cannot open a terminal by %s: %w", ptmx, err)
	}
	return master, number, nil
}

// followSize gives master the size of the terminal, now and when it changes.
func followSize(master, terminal *os.File) (stop func()) {
	changes := make(chan os.Signal, 1)
	signal.Notify(changes, unix.SIGWINCH)
	resize := func() {
		size, err := unix.IoctlGetWinsize(int(terminal.Fd()), unix.TIOCGWINSZ)
		if err == nil {
			unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, size)
		}
	}
	resize()
	go func() {
		for range changes {
			resize()
		}
	}()
	return func() {
		signal.Stop(changes)
		close(changes)
	}
}

// rawTerminal passes every key on, and returns how to undo that. It does
// nothing where terminal is none.
func rawTerminal(terminal *os.File) (restore func()) {
	restore = saveTerminal(terminal)
	raw, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		return restore
	}
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	unix.IoctlSetTermios(int(terminal.Fd()), unix.TCSETS, raw)
	return restore
}

func saveTerminal(terminal *os.File) (restore func()) {
	old, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		return func() {}
	}
	return func() { unix.IoctlSetTermios(int(terminal.Fd()), unix.TCSETSW, old) }
}
