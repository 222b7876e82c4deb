package main

import (
	"bytes"
	"testing"
	"time"
)

// A slowWriter takes its time, as a terminal does.
type slowWriter struct{ bytes.Buffer }

func (s *slowWriter) Write(p []byte) (int, error) {
	time.Sleep(10 * time.Millisecond)
	return s.Buffer.Write(p)
}

// What a command has left behind may write on as fast as it can.
func TestWhatIsWrittenWithoutEndIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	var s streams
	shown := &slowWriter{}
	w, err := s.output(shown)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.theirs = nil // the writer's
	if _, err := w.WriteString("the command's"); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		defer w.Close()
		for {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	}()
	s.begin()
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		s.finish()
	}()
	for _, over := range []chan struct{}{finished, stopped} {
		select {
		case <-over:
		case <-time.After(patience):
			t.Fatal("it goes on")
		}
	}
	if !bytes.HasPrefix(shown.Bytes(), []byte("the command's")) {
		t.Errorf("it shows %.20q", shown.Bytes())
	}
}
