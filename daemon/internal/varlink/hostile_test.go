package varlink

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestHalfAMessageDisturbsNobody(t *testing.T) {
	t.Parallel()
	f := start(t)
	half := f.dial(t)
	if _, err := half.Write([]byte(sayA[:20])); err != nil {
		t.Fatal(err)
	}
	other := f.dial(t)
	other.send(sayB)
	other.want(answerB)
	if _, err := half.Write([]byte(sayA[20:] + "\x00" + sayB[:1])); err != nil {
		t.Fatal(err)
	}
	half.want(answerA)
	half.CloseWrite()
	half.want("closed")
}

func TestAMessageMustArriveInTime(t *testing.T) {
	t.Parallel()
	f := startWithTimeout(t, 50*time.Millisecond)

	silent := f.dial(t)
	silent.want("closed")

	// Many small pieces do not extend the time.
	slow := f.dial(t)
	slow.send(sayA)
	slow.want(answerA)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	begun := time.Now()
	for range tick.C {
		if _, err := slow.Write([]byte(" ")); err != nil {
			break
		}
		if time.Since(begun) > 10*time.Second {
			t.Fatal("a message that never ends is never given up")
		}
	}
}

func TestAConnectionMayRestBetweenMessages(t *testing.T) {
	t.Parallel()
	f := startWithTimeout(t, 50*time.Millisecond)
	rested := f.dial(t)
	rested.send(sayA)
	rested.want(answerA)
	f.dial(t).want("closed") // takes as long as the time-out
	rested.send(sayB)
	rested.want(answerB)
}

func TestTooLongAMessageEndsTheConnection(t *testing.T) {
	t.Parallel()
	f := start(t)
	p := f.dial(t)
	// The write fails as soon as the server has had enough.
	n, err := p.Write([]byte(`{"method":"` + strings.Repeat("a", 10<<20)))
	if err == nil {
		t.Errorf("all %d bytes were taken", n)
	}
	p.want("closed")

	fits := f.dial(t)
	text := strings.Repeat("a", maxFrame-100)
	fits.send(strings.ReplaceAll(sayA, `"a"`, `"`+text+`"`), sayB)
	fits.want(strings.ReplaceAll(answerA, `"a"`, `"`+text+`"`), answerB)
}

func TestLargeMessagesOfOneUserAreBounded(t *testing.T) {
	t.Parallel()
	u := newUsage(NewLimits())
	if !u.enter(1) || !u.enter(2) {
		t.Fatal("cannot enter")
	}
	if !u.reserve(1, maxUserBuffer) || u.reserve(1, 1) {
		t.Error("the budget of a user is not its limit")
	}
	if !u.reserve(2, 1) {
		t.Error("another user has no budget left")
	}
	if u.reserve(1, -5); !u.reserve(1, 5) {
		t.Error("what was given back is not there")
	}
}

func TestConnectionsOfOneUserAreBounded(t *testing.T) {
	t.Parallel()
	f := start(t)
	var peers []*peer
	for range maxUserConnections {
		p := f.dial(t)
		p.send(sayA)
		p.want(answerA)
		peers = append(peers, p)
	}
	f.dial(t).want("closed")
	peers[0].CloseWrite()
	peers[0].want("closed")
	for {
		p := f.dial(t)
		if _, err := p.Write([]byte(sayA + "\x00")); err == nil && p.next() == answerA {
			break // at the latest when the server has noticed
		}
	}
}

func TestClosingTheSendingSideStillGetsAnswers(t *testing.T) {
	t.Parallel()
	p := start(t).dial(t)
	p.send(sayA, sayB)
	p.CloseWrite()
	p.want(answerA, answerB, "closed")
}

func TestHangingUpCancelsTheCall(t *testing.T) {
	t.Parallel()
	f := start(t)
	p := f.dial(t)
	// Calls that wait behind the slow one hide neither kind of end.
	p.send(`{"method":"org.example.Echo.Slow"}`, sayA, sayB)
	p.CloseWrite()
	<-f.echo.called
	select {
	case <-f.echo.cancelled:
		t.Fatal("cancelled while the caller still waits for the answer")
	default:
	}
	p.Close()
	if err := <-f.echo.cancelled; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestHangingUpAfterAOnewayCallDoesNotCancelIt(t *testing.T) {
	t.Parallel()
	f := start(t)
	p := f.dial(t)
	p.send(`{"method":"org.example.Echo.Slow","oneway":true}`)
	p.Close()
	<-f.echo.called
	f.dial(t).send(sayA)
	select {
	case <-f.echo.cancelled:
		t.Error("cancelled")
	default:
	}
}

func TestStoppingCancelsCallsAndWaits(t *testing.T) {
	t.Parallel()
	f := start(t)
	idle := f.dial(t)
	idle.send(sayA)
	idle.want(answerA)
	busy := f.dial(t)
	busy.send(`{"method":"org.example.Echo.Slow"}`)
	<-f.echo.called
	if err := f.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	<-f.echo.cancelled
	busy.want(`{"error":"org.example.Other","parameters":{"text":"context canceled"}}`, "closed")
	idle.want("closed")
	if _, err := os.Lstat(f.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// The test counts this process's descriptors, so it may not run in parallel.
func TestDescriptorsSentInAreRefused(t *testing.T) {
	f := start(t)
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	rights := unix.UnixRights(int(null.Fd()), int(null.Fd()))

	before := openFDs(t)
	for range 2000 {
		c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: f.path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = c.WriteMsgUnix([]byte(sayA+"\x00"), rights, nil)
		if err != nil && !errors.Is(err, unix.EPERM) {
			t.Fatal(err)
		}
		// However it is refused, the server is through with this connection
		// before the next one comes: it takes 128 of one user at most.
		c.CloseWrite()
		p := &peer{c, t, nil}
		p.wantClosed()
		c.Close()
	}
	p := f.dial(t)
	p.send(sayB)
	p.want(answerB)
	p.Close()
	f.stop()
	if after := openFDs(t); after > before {
		t.Errorf("%d descriptors are open, were %d", after, before)
	}
}

// A socket pair stands for a kernel that cannot refuse descriptors.
func TestDescriptorsThatArriveAreDropped(t *testing.T) {
	s := newTestServer(t)
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	rights := unix.UnixRights(int(null.Fd()))

	before := openFDs(t)
	for range 2000 {
		near, far := socketPair(t)
		if _, _, err := far.WriteMsgUnix([]byte(sayA+"\x00"), rights, nil); err != nil {
			t.Fatal(err)
		}
		s.admit(near).serve(t.Context())
		(&peer{far, t, nil}).wantClosed()
		far.Close()
	}
	if after := openFDs(t); after > before {
		t.Errorf("%d descriptors are open, were %d", after, before)
	}
}

func (p *peer) wantClosed() {
	p.t.Helper()
	if n, err := p.Read(make([]byte, 10)); n != 0 || err == nil {
		p.t.Errorf("read %d bytes, %v; want the connection closed", n, err)
	}
}

func socketPair(t *testing.T) (near, far *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "socket")
		c, err := net.FileConn(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c.(*net.UnixConn)
	}
	return conns[0], conns[1]
}

func openFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestListen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a", "b", "socket")
	first, err := Listen(path, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	// As a process leaves it that was killed.
	first.SetUnlinkOnClose(false)
	first.Close()
	second, err := Listen(path, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	if _, err := Listen(path, 0o666); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a socket that is listened on was replaced: %v", err)
	}
	Mark(second, path) // must not hurt where the kernel cannot
	link := filepath.Join(filepath.Dir(path), "link")
	for range 2 {
		if err := Link(path, link); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Listen(link, 0o666); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a link to a socket that is listened on was replaced: %v", err)
	}
	second.Close()
	third, err := Listen(link, 0o666)
	if err != nil {
		t.Fatalf("in the place of a link to nothing: %v", err)
	}
	third.Close()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, 0o666); err == nil {
		t.Error("a file was replaced")
	}
	if err := Link("/nowhere", path); err == nil {
		t.Error("a link replaced a file")
	}
}

func TestSomeConnectionsAreKeptForRoot(t *testing.T) {
	t.Parallel()
	l := &Limits{max: 4, others: 3}
	one, two := newUsage(l), newUsage(l)
	if !one.enter(1) || !two.enter(2) || !one.enter(3) {
		t.Fatal("cannot enter")
	}
	if two.enter(4) {
		t.Error("root's place is taken")
	}
	if !two.enter(0) || one.enter(0) {
		t.Error("root can have as many as there are, and no more")
	}
	one.leave(1)
	if !two.enter(0) {
		t.Error("the place that somebody left is lost")
	}
}
