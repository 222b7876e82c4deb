package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// agentPort serves one port until the test ends, and returns its other end.
func agentPort(t *testing.T) *link {
	t.Helper()
	inside, outside := net.Pipe()
	t.Cleanup(func() { outside.Close() })
	go func() {
		for l := newLink(inside); l.serveNext(t.Context()) == nil; {
		}
	}()
	return newLink(outside)
}

// command sends a command and what it reads, and returns what came back.
func (l *link) command(t *testing.T, o string, input ...string) (out, errs string, status byte) {
	t.Helper()
	go func() {
		_ = l.send(frameCommand, []byte(o))
		for _, text := range input {
			_ = l.send(frameInput, []byte(text))
		}
	}()
	for {
		kind, body, err := l.receive()
		if err != nil {
			t.Fatal(err)
		}
		switch kind {
		case frameOutput:
			out += string(body)
		case frameErrors:
			errs += string(body)
		case frameEnd:
			return out, errs, body[0]
		}
	}
}

func TestTheAgentCarriesTheThreeFilesAndTheStatus(t *testing.T) {
	t.Parallel()
	l := agentPort(t)
	out, errs, status := l.command(t, `{"Argv":["/bin/sh","-c","cat; echo $X >&2; exit 7"],"Env":["X=wrong"]}`, "typed", "")
	if out != "typed" || errs != "wrong\n" || status != 7 {
		t.Errorf("got %q, %q and %d", out, errs, status)
	}
	if _, errs, status := l.command(t, `{"Argv":["/no/such/command"]}`, ""); errs == "" || status != 127 {
		t.Errorf("a command that is not there: %q, %d", errs, status)
	}
}

// The end of the input may come after that of the command.
func TestTheAgentTellsOneCommandsInputFromTheNextCommand(t *testing.T) {
	t.Parallel()
	l := agentPort(t)
	for range 3 {
		if out, _, status := l.command(t, `{"Argv":["/bin/echo","done"]}`); out != "done\n" || status != 0 {
			t.Errorf("got %q and %d", out, status)
		}
		if err := l.send(frameInput, []byte("late")); err != nil {
			t.Fatal(err)
		}
		if err := l.send(frameInput, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheAgentEndsACommandWithItsCaller(t *testing.T) {
	t.Parallel()
	inside, outside := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- newLink(inside).serveNext(t.Context()) }()
	started := filepath.Join(t.TempDir(), "started")
	if err := newLink(outside).send(frameCommand, []byte(`{"Argv":["/bin/sh","-c","echo >`+started+`; exec sleep 1000"],"Env":["PATH=`+os.Getenv("PATH")+`"]}`)); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(started); err == nil {
			break
		}
	}
	outside.Close()
	if err := <-ended; err == nil {
		t.Error("the agent takes it for an ordinary end")
	}
}
