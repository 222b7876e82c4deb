package operation

import (
	"context"
	"errors"
	"testing"

	"github.com/machd/machd/pkg/machine1"
)

func TestNoMoreThanMaxGoOn(t *testing.T) {
	t.Parallel()
	s := NewSet()
	var ends []func()
	for range Max {
		_, end, err := s.Begin(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end)
	}
	if !s.Full() {
		t.Error("the set is not full")
	}
	if _, _, err := s.Begin(t.Context(), ""); !errors.Is(err, machine1.ErrLimitsExceeded) {
		t.Errorf("one more than Max: %v", err)
	}
	ends[0]()
	ends[0]() // twice is once
	_, end, err := s.Begin(t.Context(), "")
	if err != nil {
		t.Fatalf("after one has ended: %v", err)
	}
	if _, _, err := s.Begin(t.Context(), ""); err == nil {
		t.Error("ending one made room for two")
	}
	end()
}

func TestAnOperationEndsWithItsMachine(t *testing.T) {
	t.Parallel()
	s := NewSet()
	on, end, err := s.Begin(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	other, endOther, err := s.Begin(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	defer endOther()

	s.MachineGone("a")
	if err := context.Cause(on); !errors.Is(err, machine1.ErrNoSuchMachine) {
		t.Errorf("the operation on the machine ended with %v", err)
	}
	if other.Err() != nil {
		t.Error("an operation on another machine ended too")
	}
	s.MachineGone("nobody")
}

func TestOneUserDoesNotWaitTooOften(t *testing.T) {
	t.Parallel()
	s := NewSet()
	var ends []func()
	for range MaxWaits {
		end, err := s.BeginWait(1000)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end)
	}
	if _, err := s.BeginWait(1000); !errors.Is(err, machine1.ErrLimitsExceeded) {
		t.Errorf("one more than MaxWaits: %v", err)
	}
	if _, err := s.BeginWait(1001); err != nil {
		t.Errorf("another user: %v", err)
	}
	ends[0]()
	ends[0]() // twice is once
	if _, err := s.BeginWait(1000); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
	if _, err := s.BeginWait(1000); err == nil {
		t.Error("ending one made room for two")
	}
}
