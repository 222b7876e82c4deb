package varlink

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	client "github.com/machd/machd/pkg/varlink"
)

// echo is a service whose methods do one thing each.
type echo struct {
	called    chan string // Slow was entered
	cancelled chan error  // why Slow's context ended
}

var echoInterface = Interface[*echo]{
	Name: "org.example.Echo",
	Methods: []Method[*echo]{
		{
			Name: "Say",
			In:   Fields{{Name: "text", Type: String}},
			Out:  Fields{{Name: "text", Type: String}},
			Func: func(_ context.Context, _ *echo, c *Call) (any, error) {
				return map[string]string{"text": c.In.String("text")}, nil
			},
		},
		{
			Name: "Count",
			In:   Fields{{Name: "to", Type: Int}, {Name: "fail", Type: Bool, Nullable: true}},
			Out:  Fields{{Name: "n", Type: Int}},
			More: Streams,
			Func: count,
		},
		{
			Name: "Only",
			More: OnlyStream,
			Func: func(_ context.Context, _ *echo, c *Call) (any, error) { return nil, c.Notify(map[string]int{"n": 1}) },
		},
		{Name: "Panic", Func: func(context.Context, *echo, *Call) (any, error) { panic("on purpose") }},
		{Name: "Fail", Func: func(context.Context, *echo, *Call) (any, error) { return nil, errors.New("unnamed") }},
		{Name: "Slow", Func: slow},
		{Name: "Pipe", Out: Fields{{Name: "fd", Type: Int}}, Func: pipe},
	},
}

func count(_ context.Context, _ *echo, c *Call) (any, error) {
	for n := range c.In.Int("to") {
		if err := c.Emit(map[string]int64{"n": n}); err != nil {
			return nil, err
		}
	}
	if c.In.Bool("fail") {
		return nil, &Error{Name: "org.example.Echo.Failed"}
	}
	return nil, nil
}

func slow(ctx context.Context, e *echo, c *Call) (any, error) {
	e.called <- c.Method
	<-ctx.Done()
	e.cancelled <- context.Cause(ctx)
	return nil, ctx.Err()
}

// pipe hands out a descriptor that "hello" can be read from.
func pipe(_ context.Context, _ *echo, c *Call) (any, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	defer unix.Close(p[1])
	if _, err := unix.Write(p[1], []byte("hello")); err != nil {
		return nil, err
	}
	return map[string]int{"fd": c.SendFD(p[0])}, nil
}

type fixture struct {
	server *Server
	echo   *echo
	path   string
	stop   func() error // ends Serve and returns what it returned
}

func start(t *testing.T) fixture { return startWithTimeout(t, frameTimeout) }

func startWithTimeout(t *testing.T, timeout time.Duration) fixture {
	t.Helper()
	f := fixture{
		server: newTestServer(t),
		echo:   &echo{called: make(chan string, 1), cancelled: make(chan error, 1)},
		path:   filepath.Join(t.TempDir(), "deep", "socket"),
	}
	f.server.frameTimeout = timeout
	Add(f.server, &echoInterface, f.echo)
	l, err := Listen(f.path, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- f.server.Serve(ctx, l) }()
	f.stop = func() error {
		cancel()
		err := <-served
		served <- err
		return err
	}
	t.Cleanup(func() { f.stop() })
	return f
}

func newTestServer(t *testing.T) *Server {
	return NewServer(Config{
		Vendor: "v", Product: "p", Version: "1", URL: "u",
		ErrorOf: func(err error) *Error {
			return &Error{Name: "org.example.Other", Parameters: map[string]string{"text": err.Error()}}
		},
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
}

// A peer is a caller that can misbehave.
type peer struct {
	*net.UnixConn
	t *testing.T
	r *bufio.Reader
}

func (f fixture) dial(t *testing.T) *peer {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: f.path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return &peer{c, t, bufio.NewReader(c)}
}

// send writes messages, each with its terminator.
func (p *peer) send(messages ...string) {
	p.t.Helper()
	if _, err := p.Write([]byte(strings.Join(messages, "\x00") + "\x00")); err != nil {
		p.t.Fatalf("cannot send: %v", err)
	}
}

// next returns the next answer, or the error that ended the connection.
func (p *peer) next() string {
	p.t.Helper()
	answer, err := p.r.ReadString(0)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.t.Fatalf("no answer in time")
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET):
		return "closed"
	case err != nil:
		p.t.Fatal(err)
	}
	return strings.TrimSuffix(answer, "\x00")
}

func (p *peer) want(answers ...string) {
	p.t.Helper()
	var got []string
	for range answers {
		got = append(got, p.next())
	}
	if diff := cmp.Diff(answers, got); diff != "" {
		p.t.Errorf("answers (-want +got):\n%s", diff)
	}
}

const (
	sayA    = `{"method":"org.example.Echo.Say","parameters":{"text":"a"}}`
	sayB    = `{"method":"org.example.Echo.Say","parameters":{"text":"b"}}`
	answerA = `{"parameters":{"text":"a"}}`
	answerB = `{"parameters":{"text":"b"}}`
)

func TestAnswers(t *testing.T) {
	t.Parallel()
	f := start(t)
	for name, tt := range map[string]struct{ call, want string }{
		"a method": {sayA, answerA},
		"markup is sent as it is": {
			`{"method":"org.example.Echo.Say","parameters":{"text":"<&>\u00e9"}}`, `{"parameters":{"text":"<&>é"}}`},
		"no parameters where none are wanted": {
			`{"method":"org.example.Echo.Count","parameters":{"to":0}}`, `{"parameters":{}}`},
		"flags that are false": {
			`{"method":"org.example.Echo.Say","parameters":{"text":"a"},"more":false,"oneway":false,"upgrade":false}`, answerA},
		"an upgrade, which leads nowhere": {
			`{"method":"org.example.Echo.Say","parameters":{"text":"a"},"upgrade":true}`, answerA},
		"space around the message": {" " + sayA + "\n", answerA},
		"more where nothing streams": {
			`{"method":"org.example.Echo.Say","parameters":{"text":"a"},"more":true}`, answerA},
		"an unknown method": {
			`{"method":"org.example.Echo.Nope"}`, `{"error":"org.varlink.service.MethodNotFound","parameters":{"method":"org.example.Echo.Nope"}}`},
		"an unknown interface": {
			`{"method":"nope","parameters":null}`, `{"error":"org.varlink.service.MethodNotFound","parameters":{"method":"nope"}}`},
		"a missing field": {
			`{"method":"org.example.Echo.Say"}`, `{"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":"text"}}`},
		"a panic": {
			`{"method":"org.example.Echo.Panic"}`, `{"error":"org.example.Other","parameters":{"text":"internal error"}}`},
		"an error without a name": {
			`{"method":"org.example.Echo.Fail"}`, `{"error":"org.example.Other","parameters":{"text":"unnamed"}}`},
		"a stream method without more": {
			`{"method":"org.example.Echo.Only"}`, `{"error":"org.varlink.service.ExpectedMore","parameters":{}}`},
		"a second record without more": {
			`{"method":"org.example.Echo.Count","parameters":{"to":2}}`, `{"error":"org.varlink.service.ExpectedMore","parameters":{}}`},
		"one record without more": {
			`{"method":"org.example.Echo.Count","parameters":{"to":1}}`, `{"parameters":{"n":0}}`},
		"an integer as a string": {
			`{"method":"org.example.Echo.Count","parameters":{"to":"1"}}`, `{"parameters":{"n":0}}`},
		"info": {
			`{"method":"org.varlink.service.GetInfo"}`,
			`{"parameters":{"vendor":"v","product":"p","version":"1","url":"u","interfaces":["org.example.Echo","org.varlink.service"]}}`},
		"info takes no fields": {
			`{"method":"org.varlink.service.GetInfo","parameters":{"x":1}}`, `{"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":"x"}}`},
		"the description of an unknown interface": {
			`{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":"nope"}}`,
			`{"error":"org.varlink.service.InterfaceNotFound","parameters":{"interface":"nope"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := f.dial(t)
			p.send(tt.call)
			p.want(tt.want)
			p.send(sayB)
			p.want(answerB)
		})
	}
}

func TestWhatEndsAConnection(t *testing.T) {
	t.Parallel()
	f := start(t)
	for name, call := range map[string]string{
		"nothing":               "",
		"no JSON":               "x",
		"no object":             `["org.example.Echo.Say"]`,
		"null":                  `null`,
		"no method":             `{"parameters":{}}`,
		"a method that is none": `{"method":5}`,
		"a null method":         `{"method":null}`,
		"parameters no object":  `{"method":"org.example.Echo.Say","parameters":[]}`,
		"an unknown key":        `{"method":"org.example.Echo.Say","parameters":{"text":"a"},"bogus":1}`,
		"a flag no boolean":     `{"method":"org.example.Echo.Say","parameters":{"text":"a"},"more":null}`,
		"more and oneway":       `{"method":"org.example.Echo.Say","parameters":{"text":"a"},"more":true,"oneway":true}`,
		"more and an upgrade":   `{"method":"org.example.Echo.Say","parameters":{"text":"a"},"more":true,"upgrade":true}`,
		"an upgrade unanswered": `{"method":"org.example.Echo.Say","parameters":{"text":"a"},"oneway":true,"upgrade":true}`,
		"a key twice":           `{"method":"x","method":"org.example.Echo.Say","parameters":{"text":"a"}}`,
		"two values":            sayA + sayB,
		"text after the value":  sayA + " x",
		"no UTF-8":              "{\"method\":\"\xff\"}",
		"a NUL in a string":     `{"method":"org.example.Echo.Say","parameters":{"text":"a\u0000"}}`,
		"deep nesting":          `{"method":"x","parameters":{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}}`,
		"very deep nesting":     strings.Repeat("[", 100000) + strings.Repeat("]", 100000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := f.dial(t)
			p.send(call, sayA)
			p.want("closed")
		})
	}
}

func TestPipelinedCallsAreAnsweredInOrder(t *testing.T) {
	t.Parallel()
	p := start(t).dial(t)
	var calls, answers []string
	for range 500 {
		calls = append(calls, sayA, `{"method":"nope"}`, sayB)
		answers = append(answers, answerA, `{"error":"org.varlink.service.MethodNotFound","parameters":{"method":"nope"}}`, answerB)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := p.Write([]byte(strings.Join(calls, "\x00") + "\x00"))
		sent <- err
	}()
	p.want(answers...)
	if err := <-sent; err != nil {
		t.Errorf("cannot send: %v", err)
	}
}

func TestOnewayIsCalledAndNotAnswered(t *testing.T) {
	t.Parallel()
	p := start(t).dial(t)
	p.send(
		`{"method":"org.example.Echo.Say","parameters":{"text":"x"},"oneway":true}`,
		`{"method":"nope","oneway":true}`,
		`{"method":"org.example.Echo.Panic","oneway":true}`,
		`{"method":"org.example.Echo.Count","parameters":{"to":3},"oneway":true}`,
		sayB)
	p.want(answerB)
}

func TestStreams(t *testing.T) {
	t.Parallel()
	p := start(t).dial(t)
	p.send(`{"method":"org.example.Echo.Count","parameters":{"to":3},"more":true}`)
	p.want(
		`{"parameters":{"n":0},"continues":true}`,
		`{"parameters":{"n":1},"continues":true}`,
		`{"parameters":{"n":2}}`)
	p.send(`{"method":"org.example.Echo.Count","parameters":{"to":2,"fail":true},"more":true}`)
	p.want(
		`{"parameters":{"n":0},"continues":true}`,
		`{"parameters":{"n":1},"continues":true}`,
		`{"error":"org.example.Echo.Failed","parameters":{}}`)
	p.send(`{"method":"org.example.Echo.Only","more":true}`)
	p.want(`{"parameters":{"n":1},"continues":true}`, `{"parameters":{}}`)
	p.send(sayA)
	p.want(answerA)
}

func TestDescriptorsGoOut(t *testing.T) {
	t.Parallel()
	p := start(t).dial(t)
	p.send(`{"method":"org.example.Echo.Pipe"}`)
	frame, oob := make([]byte, 100), make([]byte, 100)
	n, oobn, _, _, err := p.ReadMsgUnix(frame, oob)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(frame[:n]), `{"parameters":{"fd":0}}`+"\x00"; got != want {
		t.Errorf("answer: got %q, want %q", got, want)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		t.Fatalf("control messages: %v, %v", messages, err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("descriptors: %v, %v", fds, err)
	}
	file := os.NewFile(uintptr(fds[0]), "pipe")
	defer file.Close()
	text, err := io.ReadAll(file)
	if err != nil || string(text) != "hello" {
		t.Errorf("read %q, %v", text, err)
	}
	p.send(sayA)
	p.want(answerA)
}

// Calls of our own client are served, refused and given up as those of others.
func TestClient(t *testing.T) {
	t.Parallel()
	f := start(t)
	call := func(ctx context.Context, method string, in, out any) error {
		c, err := client.Dial(ctx, f.path)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Call(ctx, method, in, out)
		return err
	}
	var out struct{ Text string }
	long := strings.Repeat("x", 100000)
	if err := call(t.Context(), "org.example.Echo.Say", map[string]string{"text": long}, &out); err != nil || out.Text != long {
		t.Errorf("got %d bytes, %v", len(out.Text), err)
	}
	err := call(t.Context(), "org.example.Echo.Say", nil, nil)
	var refused *client.Error
	if !errors.As(err, &refused) || refused.Name != "org.varlink.service.InvalidParameter" {
		t.Errorf("got %v, want InvalidParameter", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-f.echo.called; cancel() }()
	if err := call(ctx, "org.example.Echo.Slow", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that the caller cancelled", err)
	}
	<-f.echo.cancelled
}
