package vtable_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/daemon/internal/wire"
	"github.com/machd/machd/pkg/dbustest"
	"github.com/machd/machd/pkg/machine1"
)

// serveAddress tells the test binary to be the server of a benchmark, so that
// its CPU time can be told from the client's.
const serveAddress = "VTABLE_TEST_SERVE"

func TestMain(m *testing.M) {
	if address := os.Getenv(serveAddress); address != "" {
		if err := serveBenchmark(address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveBenchmark serves until its standard input ends.
func serveBenchmark(address string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	server, err := vtable.Dial(ctx, address, benchConfig())
	if err != nil {
		return err
	}
	if err := server.RequestName(ctx, busName, 4); err != nil {
		return err
	}
	fmt.Println("ready")
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return server.Run(ctx)
}

// startServer starts a server process and returns it.
func startServer(t testing.TB, address string) (pid int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveAddress+"="+address)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	if _, err := io.ReadFull(stdout, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// sumOfThreads adds up what number finds in a file that each thread of a process
// has in /proc.
func sumOfThreads(t testing.TB, pid int, file string, number func(text string) (float64, error)) float64 {
	t.Helper()
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/%s", pid, file))
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		n, err := number(string(text))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		sum += n
	}
	return sum
}

// processorTime returns the CPU time of a process in microseconds.
func processorTime(t testing.TB, pid int) float64 {
	return sumOfThreads(t, pid, "schedstat", func(text string) (ns float64, err error) {
		_, err = fmt.Sscan(text, &ns)
		return ns / 1000, err
	})
}

// sleeps returns how often the threads of a process have begun to wait.
func sleeps(t testing.TB, pid int) float64 {
	return sumOfThreads(t, pid, "status", func(text string) (n float64, err error) {
		_, rest, _ := strings.Cut(text, "\nvoluntary_ctxt_switches:")
		_, err = fmt.Sscan(rest, &n)
		return n, err
	})
}

// A serial call is one wait: for the next call. Each yield of the reader, and
// each look of Go's monitor, is a few more, but they come by time and not with
// the calls.
func TestAServerSleepsOnceForACall(t *testing.T) {
	t.Parallel()
	bus := dbustest.New(t)
	server := startServer(t, bus.Address)
	conn, err := wire.Dial(t.Context(), bus.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := &peer{conn, t}
	signature, body := marshal(t, "container-1")
	call := func() {
		conn.Send(&wire.Header{
			Type: wire.TypeCall, Destination: busName, Path: machine1.ObjectPath, Interface: machine1.ManagerInterface,
			Member: "GetMachine", Signature: signature,
		}, body, nil)
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		for p.receive().Type != wire.TypeReply {
		}
	}
	const count = 3000
	for range count / 10 {
		call()
	}
	before, start := sleeps(t, server), time.Now()
	for range count {
		call()
	}
	const perYield = 4
	limit := 1.3*count + perYield*float64(time.Since(start)/(4*time.Millisecond))
	slept := sleeps(t, server) - before
	if slept > limit {
		t.Errorf("the server's threads slept %.0f times in %d calls, more than %.0f", slept, count, limit)
	}
	t.Logf("%.2f sleeps a call, %v", slept/count, time.Since(start))
}

// BenchmarkBus measures a server in a process of its own, through a
// dbus-daemon. Only the server's CPU time is reported.
func BenchmarkBus(b *testing.B) {
	for _, depth := range []int{1, 64} {
		for _, call := range benchCalls {
			b.Run(fmt.Sprintf("%s/inFlight=%d", call.name, depth), func(b *testing.B) {
				bus := dbustest.New(b)
				server := startServer(b, bus.Address)
				conn, err := wire.Dial(b.Context(), bus.Address)
				if err != nil {
					b.Fatal(err)
				}
				defer conn.Close()
				p := &peer{conn, b}
				signature, body := marshal(b, call.in...)
				h := wire.Header{
					Type: wire.TypeCall, Destination: busName, Path: call.path, Interface: call.iface,
					Member: call.member, Signature: signature,
				}
				b.ResetTimer()
				start := processorTime(b, server)
				for i := 0; i < b.N; i += depth {
					for range depth {
						one := h
						conn.Send(&one, body, nil)
					}
					if err := conn.Flush(); err != nil {
						b.Fatal(err)
					}
					for range depth {
						if m := p.receive(); m.Type != wire.TypeReply {
							b.Fatal(m.ErrorName)
						}
					}
				}
				b.ReportMetric((processorTime(b, server)-start)/float64(b.N), "server-cpu-µs/op")
			})
		}
	}
}
