package machine1test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/creack/pty"
	"github.com/godbus/dbus/v5"
)

// replySent is how long the master stays open here: godbus does not say when
// a reply has left.
const replySent = 300 * time.Millisecond

func (w *World) openPTY(msg dbus.Message, name string) (dbus.UnixFD, string, *dbus.Error) {
	return w.openLogin(msg, name)
}

func (w *World) openLogin(msg dbus.Message, name string) (dbus.UnixFD, string, *dbus.Error) {
	if err := w.enter(msg, name); err != nil {
		return 0, "", err
	}
	m, err := w.find(name)
	if err != nil {
		return 0, "", err
	}
	return w.serve(func(slave *os.File) {
		if m.Terminal == nil {
			io.WriteString(slave, name+" login: ")
			io.Copy(io.Discard, slave)
			return
		}
		m.Terminal(slave)
	})
}

func (w *World) openShell(msg dbus.Message, name, user, path string, args, env []string) (dbus.UnixFD, string, *dbus.Error) {
	if err := w.enter(msg, name, fmt.Sprintf("%q %q %q", user, path, args), env); err != nil {
		return 0, "", err
	}
	if _, err := w.find(name); err != nil {
		return 0, "", err
	}
	cmd := exec.Command("/bin/sh", "-i")
	if path != "" {
		cmd = exec.Command(path)
		cmd.Args = append([]string{path}, args[min(1, len(args)):]...)
	}
	cmd.Env = append(os.Environ(), env...)
	return w.serve(func(slave *os.File) {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Run(); err != nil {
			fmt.Fprintf(slave, "[%v]\n", err)
		}
	})
}

func (w *World) openRoot(msg dbus.Message, name string) (dbus.UnixFD, *dbus.Error) {
	if err := w.enter(msg, name); err != nil {
		return 0, err
	}
	m, err := w.find(name)
	switch {
	case err != nil:
		return 0, err
	case m.Root == "":
		return 0, Error("org.freedesktop.DBus.Error.AccessDenied", "Access denied")
	}
	fd, openErr := syscall.Open(m.Root, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if openErr != nil {
		return 0, dbus.MakeFailedError(openErr)
	}
	time.AfterFunc(replySent, func() { syscall.Close(fd) })
	return dbus.UnixFD(fd), nil
}

func (w *World) serve(play func(slave *os.File)) (dbus.UnixFD, string, *dbus.Error) {
	master, slave, err := pty.Open()
	if err != nil {
		return 0, "", dbus.MakeFailedError(err)
	}
	go func() {
		play(slave)
		slave.Close()
	}()
	fd, err := syscall.Dup(int(master.Fd()))
	if err != nil {
		return 0, "", dbus.MakeFailedError(err)
	}
	master.Close()
	time.AfterFunc(replySent, func() { syscall.Close(fd) })
	return dbus.UnixFD(fd), slave.Name(), nil
}
