package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// barrierLimit is how long the service manager may take to note what it is told.
const barrierLimit = 5 * time.Second

func ready(log *slog.Logger) {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady+"\nSTATUS=Processing requests..."); err != nil {
		log.Warn("cannot notify the service manager", "error", err)
	}
}

// stopping tells the service manager that we end, and returns when it knows.
// The bus name must not be given up before: whoever asks for it then has a start
// asked for, which comes to nothing as long as the manager takes us for running.
// The bus goes on waiting for it, and so does everybody who asks.
func stopping(log *slog.Logger) {
	told, err := daemon.SdNotify(false, daemon.SdNotifyStopping+"\nSTATUS=Shutting down...")
	if err == nil && told {
		err = barrier(os.Getenv("NOTIFY_SOCKET"))
	}
	if err != nil {
		log.Warn("cannot notify the service manager", "error", err)
	}
}

// barrier returns when the service manager has dealt with all that was sent
// before: it then closes the descriptor that comes with the message.
//
// Reference: sd_notify(3), BARRIER=1.
func barrier(socket string) error {
	wait, sent, err := os.Pipe()
	if err != nil {
		return err
	}
	defer wait.Close()
	defer sent.Close()
	conn, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(conn)
	to := &unix.SockaddrUnix{Name: socket}
	if err := unix.Sendmsg(conn, []byte("BARRIER=1"), unix.UnixRights(int(sent.Fd())), to, 0); err != nil {
		return err
	}
	sent.Close()
	if err := wait.SetReadDeadline(time.Now().Add(barrierLimit)); err != nil {
		return err
	}
	if _, err := wait.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("it does not answer: %w", err)
	}
	return nil
}

// untilKnown returns a context that ends after ctx, when the service manager
// knows that we are ending.
func untilKnown(ctx context.Context, log *slog.Logger) (running context.Context, end func()) {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	forget := context.AfterFunc(ctx, func() {
		stopping(log)
		cancel()
	})
	return running, func() {
		forget()
		cancel()
	}
}
