package nsexec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/session"
	"github.com/machd/machd/daemon/internal/task"
)

var errGone = fmt.Errorf("the machine is gone: %w", unix.ESRCH)

const (
	// recordDir has a file for each command's cgroup.
	recordDir = "/run/machd/entered"
	// idleTime is how long nothing happens before the server ends; the next who
	// asks has it started again.
	idleTime = 30 * time.Second
	// idleStep is how often it is looked.
	idleStep = 5 * time.Second
)

// A server runs commands for the daemon.
type server struct {
	log     *slog.Logger
	records string
	pool    *pool
	watcher *proc.Watcher
	limits  *session.Limits
	over    context.Context // ends the sessions
	end     context.CancelFunc
	number  atomic.Uint64
}

// RunServer is the whole program of the service that enters machines. It ends
// with ctx, and when it has not been needed for a while.
func RunServer(ctx context.Context, listener *net.UnixListener, log *slog.Logger) error {
	return runServer(ctx, listener, recordDir, idleTime, log)
}

func runServer(ctx context.Context, listener *net.UnixListener, records string, idle time.Duration, log *slog.Logger) error {
	if err := os.MkdirAll(records, 0o700); err != nil {
		return fmt.Errorf("cannot make a directory for records: %w", err)
	}
	if err := sweep(ctx, records); err != nil {
		log.Warn("Cannot end what a server before has left behind.", "error", err)
	}
	pool, err := newPool(log)
	if err != nil {
		return err
	}
	defer pool.close()
	pool.refill()
	watcher, err := proc.NewWatcher()
	if err != nil {
		return err
	}
	over, end := context.WithCancel(context.Background())
	defer end()
	s := &server{log: log, records: records, pool: pool, watcher: watcher, limits: session.NewLimits(), over: over, end: end}
	s.number.Store(uint64(time.Now().UnixNano())) // no name comes twice
	err = task.Run(ctx,
		func(ctx context.Context) error { return s.watch(ctx) },
		func(ctx context.Context) error { return s.accept(ctx, listener) },
		func(ctx context.Context) error { return s.awaitIdle(ctx, idle) })
	if errors.Is(err, errIdle) {
		return nil
	}
	return err
}

// watch tells of processes that end, until the sessions are over.
func (s *server) watch(ctx context.Context) error {
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	done := make(chan error, 1)
	go func() { done <- s.watcher.Run(watching) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	s.limits.Close()
	s.end()
	s.limits.Wait()
	stop()
	return <-done
}

var errIdle = errors.New("nothing to do")

func (s *server) awaitIdle(ctx context.Context, idle time.Duration) error {
	ticker := time.NewTicker(min(idle, idleStep))
	defer ticker.Stop()
	last, since := uint64(0), time.Now()
	for {
		changes, busy := s.limits.Pulse()
		switch {
		case busy || changes != last:
			last, since = changes, time.Now()
		case time.Since(since) >= idle:
			return errIdle
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// accept serves who connects. A connection that waits when it returns is the
// next server's: the socket is PID 1's.
func (s *server) accept(ctx context.Context, listener *net.UnixListener) error {
	stop := context.AfterFunc(ctx, func() { listener.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		conn, err := listener.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case err != nil:
			return fmt.Errorf("cannot accept a connection: %w", err)
		}
		// Counted before it is looked at, so that we are not idle meanwhile.
		release, err := s.limits.Admit(0)
		if err != nil {
			conn.Close()
			continue
		}
		go func() {
			defer release()
			defer conn.Close()
			s.serve(conn)
		}()
	}
}
