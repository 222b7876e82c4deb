package inside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/socket"
)

// maxOutcomeText bounds an error's text, bytes, so that an outcome fits.
const maxOutcomeText = maxOutcome / 8

// RunErrand is the whole program of an errand's process: it is root in a
// machine's user namespace, and elsewhere where the daemon is. It does its one
// errand as the daemon of the system does it, and stays as long as a shell that
// it started is watched.
func RunErrand(ctx context.Context, log *slog.Logger) error {
	daemon := os.NewFile(errandSocket, "errand")
	conn, err := socket.Conn(daemon)
	if err != nil {
		return fmt.Errorf("%s is for the daemon itself: %w", ErrandArgument, err)
	}
	defer conn.Close()
	daemon.Close()
	g := NewGuard(log)
	result, err := g.runErrand(ctx, conn)
	if err := answer(conn, result, err); err != nil {
		return err
	}
	g.awaitLate()
	return nil
}

// runErrand returns what the daemon is to have.
func (g *Guard) runErrand(ctx context.Context, from io.Reader) (*os.File, error) {
	leader, err := proc.FromFD(errandLeader)
	if err != nil {
		return nil, err
	}
	defer leader.Close()
	there, err := leader.SameNamespace("user")
	if err != nil {
		return nil, orGone(leader, err)
	}
	if !there {
		return nil, fmt.Errorf("the user namespace is not that of process %d: %w", leader.PID(), unix.EXDEV)
	}
	var e errand
	if err := json.NewDecoder(io.LimitReader(from, maxErrand)).Decode(&e); err != nil {
		return nil, fmt.Errorf("cannot read the errand: %w", err)
	}
	switch e.Do {
	case doOpenRoot:
		return g.OpenRoot(ctx, leader)
	case doOpenPTY:
		return master(g.OpenPTY(ctx, leader))
	case doStartLogin:
		return master(g.StartLogin(ctx, leader, e.Machine))
	case doStartShell:
		return master(g.StartShell(ctx, leader, e.Machine, e.Shell))
	}
	return nil, fmt.Errorf("there is no errand %q", e.Do)
}

func master(p *PTY, err error) (*os.File, error) {
	if err != nil {
		return nil, err
	}
	return p.Master, nil
}

// answer tells the daemon how the errand went, and closes result.
func answer(conn *net.UnixConn, result *os.File, failure error) error {
	var o outcome
	var rights []byte
	if failure == nil {
		defer result.Close()
		rights = unix.UnixRights(int(result.Fd()))
	} else {
		text := failure.Error()
		if len(text) > maxOutcomeText {
			text = strings.ToValidUTF8(text[:maxOutcomeText], "")
		}
		o.Error = &machine1.RemoteError{Name: machine1.ErrorName(failure), Text: text}
	}
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	n, _, err := conn.WriteMsgUnix(text, rights, nil)
	if err == nil && n < len(text) {
		err = io.ErrShortWrite
	}
	if errors.Is(err, unix.EPIPE) {
		return nil // the caller has given up
	}
	return err
}

// awaitLate returns when no shell is watched any more. g is of no use then.
func (g *Guard) awaitLate() {
	for range cap(g.late) {
		g.late <- struct{}{}
	}
}
