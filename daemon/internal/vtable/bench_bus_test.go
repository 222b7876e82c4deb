package vtable_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/daemon/internal/wire"
	"github.com/machd/machd/pkg/dbustest"
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

// benchServer starts a server process and returns a function that tells its
// CPU time in microseconds.
func benchServer(b *testing.B, address string) (cpu func() float64) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveAddress+"="+address)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	if _, err := io.ReadFull(stdout, make([]byte, len("ready\n"))); err != nil {
		b.Fatal(err)
	}
	return func() float64 {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", cmd.Process.Pid))
		if err != nil {
			b.Fatal(err)
		}
		var sum float64
		for _, task := range tasks {
			var ns float64
			if text, err := os.ReadFile(task); err == nil {
				fmt.Sscan(string(text), &ns)
			}
			sum += ns / 1000
		}
		return sum
	}
}

// BenchmarkBus measures a server in a process of its own, through a
// dbus-daemon. Only the server's CPU time is reported.
func BenchmarkBus(b *testing.B) {
	for _, depth := range []int{1, 64} {
		for _, call := range benchCalls {
			b.Run(fmt.Sprintf("%s/inFlight=%d", call.name, depth), func(b *testing.B) {
				bus := dbustest.New(b)
				cpu := benchServer(b, bus.Address)
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
				start := cpu()
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
				b.ReportMetric((cpu()-start)/float64(b.N), "server-cpu-µs/op")
			})
		}
	}
}
