package machine1test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/creack/pty"
	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machd"
)

// exec runs the command on this host, as machd does in a machine: with the
// files it got, until its caller hangs up.
func (w *World) exec(msg dbus.Message, name string, args []string, stdio []machd.Descriptor, options map[string]dbus.Variant) (dbus.UnixFD, []machd.Descriptor, string, *dbus.Error) {
	files := filesOf(stdio)
	fail := func(err *dbus.Error) (dbus.UnixFD, []machd.Descriptor, string, *dbus.Error) {
		closeAll(files)
		return 0, nil, "", err
	}
	o, parseErr := machd.ParseExecOptions(options)
	if parseErr != nil {
		return fail(Error("org.freedesktop.DBus.Error.InvalidArgs", "%v", parseErr))
	}
	if err := w.enter(msg, name, fmt.Sprintf("%q %d", args, len(stdio)), o.Variants()); err != nil {
		return fail(err)
	}
	if _, err := w.find(name); err != nil {
		return fail(err)
	}
	return w.handOut(args, files, o)
}

// handOut runs a command and returns what it is held by.
func (w *World) handOut(args []string, files []*os.File, o machd.ExecOptions) (dbus.UnixFD, []machd.Descriptor, string, *dbus.Error) {
	fail := func(err *dbus.Error) (dbus.UnixFD, []machd.Descriptor, string, *dbus.Error) {
		closeAll(files)
		return 0, nil, "", err
	}
	cmd, terminal, err := commandOf(args, files, o)
	if err != nil {
		return fail(dbus.MakeFailedError(err))
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fail(dbus.MakeFailedError(err))
	}
	ours := os.NewFile(uintptr(pair[0]), "session")
	w.mu.Lock()
	w.sessions = append(w.sessions, ours)
	w.mu.Unlock()
	go hold(ours, cmd, files)
	sent := append(terminal, machd.Descriptor{FD: dbus.UnixFD(pair[1])})
	time.AfterFunc(replySent, func() {
		for _, d := range sent {
			syscall.Close(int(d.FD))
		}
	})
	return dbus.UnixFD(pair[1]), terminal, "machd-exec-1.service", nil
}

func filesOf(stdio []machd.Descriptor) []*os.File {
	var files []*os.File
	for _, d := range stdio {
		unix.CloseOnExec(int(d.FD))
		files = append(files, os.NewFile(uintptr(d.FD), "stdio"))
	}
	return files
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// commandOf returns what to run, and the master of its terminal if it has one;
// the slave is among the command's files.
func commandOf(args []string, files []*os.File, o machd.ExecOptions) (*exec.Cmd, []machd.Descriptor, error) {
	if len(args) == 0 {
		args = []string{"/bin/sh", "-i"}
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = o.Directory
	cmd.Env = append(os.Environ(), o.Environment...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if !o.Terminal {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[1], files[2]
		return cmd, nil, nil
	}
	master, slave, err := pty.Open()
	if err != nil {
		return nil, nil, err
	}
	if err := pty.Setsize(master, &pty.Winsize{Rows: o.Rows, Cols: o.Columns}); err != nil {
		return nil, nil, err
	}
	fd, err := unix.FcntlInt(master.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	master.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr.Setctty = true
	return cmd, []machd.Descriptor{{FD: dbus.UnixFD(fd)}}, err
}

// hold runs cmd, does what its caller orders and tells him how it ended.
func hold(session *os.File, cmd *exec.Cmd, files []*os.File) {
	defer session.Close()
	err := cmd.Start()
	closeAll(append(files, cmd.Stdin.(*os.File)))
	if err != nil {
		session.Write(failureOf(cmd.Args[0], err).Encode())
		return
	}
	go func() {
		packet := make([]byte, machd.MaxPacket)
		for {
			n, err := session.Read(packet)
			if err != nil {
				break
			}
			if order, err := machd.ParseOrder(packet[:n]); err == nil {
				cmd.Process.Signal(syscall.Signal(order.Signal))
			}
		}
		cmd.Process.Signal(syscall.SIGHUP)
	}()
	_ = cmd.Wait() // the state says it all
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	outcome := machd.Outcome{}
	if status.Signaled() {
		outcome.Signal = int(status.Signal())
	} else {
		code := status.ExitStatus()
		outcome.Exit = &code
	}
	session.Write(outcome.Encode())
}

func failureOf(path string, err error) machd.Outcome {
	o := machd.Outcome{Failure: machd.FailureNotExecutable, Message: fmt.Sprintf("Cannot run %q: %v", path, errors.Unwrap(err))}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		o.Failure = machd.FailureNotFound
	}
	return o
}

// HangUp ends what holds commands, as the end of machd does.
func (w *World) HangUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, session := range w.sessions {
		session.Close()
	}
	w.sessions = nil
}
