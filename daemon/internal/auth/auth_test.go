package auth_test

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/pkg/dbustest"
	"github.com/machd/machd/pkg/machine1"
)

func TestTheBusTellsWhoCalls(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	client := b.Dial()
	c, err := authority(b).BusCaller(t.Context(), client.Names()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.UID != uint32(os.Getuid()) || c.PIDFD.PID() != os.Getpid() || !c.PIDFD.Alive() {
		t.Errorf("the caller is user %d, process %d", c.UID, c.PIDFD.PID())
	}
	if !c.Privileged() {
		t.Error("our own user is not privileged")
	}
	if (auth.Caller{UID: stranger}).Privileged() {
		t.Error("another user is privileged")
	}
}

func TestNobodyIsBehindANameThatIsGone(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	client := b.Dial()
	name := client.Names()[0]
	client.Close()
	a := authority(b)
	for _, sender := range []string{name, ":7.7", "org.example.Nobody"} {
		c, err := a.BusCaller(t.Context(), sender)
		var remote *machine1.RemoteError
		if !errors.As(err, &remote) || !errors.Is(err, machine1.ErrServiceUnknown) {
			t.Errorf("%s is %v, %v", sender, c, err)
		}
	}
}

func TestThePeerIsWhoConnected(t *testing.T) {
	t.Parallel()
	served, _ := peers(t)
	c, err := auth.PeerCaller(served)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.UID != uint32(os.Getuid()) || c.PIDFD.PID() != os.Getpid() {
		t.Errorf("the peer is user %d, process %d", c.UID, c.PIDFD.PID())
	}
	served.Close()
	if c, err := auth.PeerCaller(served); err == nil {
		t.Errorf("the peer of a closed connection is %v", c)
	}
}

func TestAttendingEndsWithTheCaller(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	a := authority(b)
	client, other := b.Dial(), b.Dial()
	ctx, c, done, err := a.Attend(t.Context(), client.Names()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if c.UID != uint32(os.Getuid()) || c.PIDFD.PID() != os.Getpid() {
		t.Errorf("the caller is user %d, process %d", c.UID, c.PIDFD.PID())
	}
	stays, _, release, err := a.Attend(t.Context(), other.Names()[0])
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
	next(t, ctx.Done())
	if err := context.Cause(ctx); !errors.Is(err, machine1.ErrDisconnected) {
		t.Errorf("it ended for %v", err)
	}
	if stays.Err() != nil {
		t.Error("another caller is said to have left, too")
	}
	release()
	if _, _, _, err := a.Attend(t.Context(), client.Names()[0]); !errors.Is(err, machine1.ErrServiceUnknown) {
		t.Errorf("whom is attended that has left: %v", err)
	}
}
