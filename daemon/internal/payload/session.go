package payload

import (
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machd"
)

// grace is how long processes have that were asked to end.
const grace = 2 * time.Second

// A session is ours with whoever has the command run.
type session struct{ fd int }

// refuse says that there is no command, and why.
func (s *session) refuse(failure machd.Failure, message string) int {
	s.send(machd.Outcome{Failure: failure, Message: message})
	if failure == machd.FailureNotFound {
		return 127
	}
	return 126
}

// tell says how the command ended, and returns what shells make of it.
func (s *session) tell(status unix.WaitStatus) int {
	if status.Signaled() {
		s.send(machd.Outcome{Signal: int(status.Signal())})
		return 128 + int(status.Signal())
	}
	code := status.ExitStatus()
	s.send(machd.Outcome{Exit: &code})
	if code == rebootStatus {
		return 1
	}
	return code
}

func (s *session) send(o machd.Outcome) {
	_ = unix.Sendto(s.fd, o.Encode(), unix.MSG_NOSIGNAL, nil)
}

// obey does what it is told until nobody is there to tell, which ends the
// machine.
func (s *session) obey(command int) {
	packet := make([]byte, machd.MaxPacket)
	for {
		// The daemon has made it not block, for itself.
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}, -1); err == unix.EINTR {
			continue
		}
		n, err := unix.Read(s.fd, packet)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if err != nil || n == 0 {
			endAll(unix.SIGHUP)
			return
		}
		if order, err := machd.ParseOrder(packet[:n]); err == nil {
			_ = unix.Kill(-command, unix.Signal(order.Signal))
		}
	}
}

// heedSignals ends the machine when it is told to, as an init does. For a
// shutdown the signals are those of systemd and of sysvinit.
func heedSignals() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGPWR, rtmin(3), rtmin(4), rtmin(5), rtmin(13), rtmin(14))
	<-signals
	endAll(unix.SIGTERM)
}

// rtmin is one of the signals that C programs call SIGRTMIN+n.
func rtmin(n int) unix.Signal { return unix.Signal(34 + n) }

// endAll has all other processes end, and then the machine.
func endAll(sig unix.Signal) {
	_ = unix.Kill(-1, sig)
	_ = unix.Kill(-1, unix.SIGCONT)
	time.Sleep(grace)
	os.Exit(128 + int(sig))
}
