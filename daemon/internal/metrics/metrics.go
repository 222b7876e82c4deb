// Package metrics is the face of the daemon for monitoring: it tells numbers of
// the machines as OpenMetrics, over HTTP on a Unix socket. What it tells,
// everybody may know. It must not know how numbers are read.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/machd/machd/daemon/internal/machine"
)

// Path is where the system's daemon is asked.
const Path = "/run/machd/metrics.sock"

// What one client may take of us. A connection serves one request.
const (
	maxConnections = 16
	maxHeader      = 8 << 10 // bytes
	requestTimeout = 5 * time.Second
	answerTimeout  = 10 * time.Second
)

// Machines is the domain; *machine.Manager is it.
type Machines interface {
	View() *machine.View
	Usage(ctx context.Context) ([]machine.Usage, error)
	Counts() machine.Counts
}

// A Face answers whoever asks for numbers.
type Face struct {
	machines Machines
	version  string // of machd
	log      *slog.Logger
}

// New returns a Face; Serve makes it answer.
func New(machines Machines, version string, log *slog.Logger) *Face {
	return &Face{machines, version, log}
}

// Listen makes the socket, in place of one that a daemon before left.
func Listen(path string) (*net.UnixListener, error) {
	dir := filepath.Dir(path)
	// Others keep things there that are for nobody, and may have made it for them.
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
		return nil, fmt.Errorf("cannot make the directory of the metrics socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot remove an old metrics socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("cannot listen for who asks for metrics: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, fmt.Errorf("cannot open the metrics socket to everybody: %w", err)
	}
	return l, nil
}

// Serve answers on l, which it closes and removes, until ctx ends.
func (f *Face) Serve(ctx context.Context, l *net.UnixListener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", f.answer)
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: requestTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      answerTimeout,
		MaxHeaderBytes:    maxHeader,
		// What clients do wrong is theirs to know.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	server.SetKeepAlivesEnabled(false)
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(limit(l, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve metrics: %w", err)
	}
	return nil
}

// contentType is the one of the text format.
const contentType = "application/openmetrics-text; version=1.0.0; charset=utf-8"

func (f *Face) answer(w http.ResponseWriter, r *http.Request) {
	usage, err := f.machines.Usage(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	if _, err := w.Write(f.text(usage)); err != nil {
		f.log.Debug("A client that asked for metrics did not take them.", "error", err)
	}
}
