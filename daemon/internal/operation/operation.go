// Package operation keeps count of what takes long: copies, clones, removals.
// There is a limit to how many go on at a time, and those that work on a
// machine end with it. It must not know what an operation does.
package operation

import (
	"context"
	"fmt"
	"sync"

	"github.com/machd/machd/pkg/machine1"
)

// Max is how many operations go on at a time.
//
// Reference: operation.h, OPERATIONS_MAX.
const Max = 64

// MaxWaits is how often one user may wait for machines at a time: anybody may,
// without being asked, and for as long as he likes.
const MaxWaits = 16

var (
	// ErrTooMany says that Max operations go on.
	ErrTooMany = machine1.Errorf(machine1.ErrLimitsExceeded, "Too many ongoing operations.")
	// ErrTooManyWaits says that a user waits MaxWaits times.
	ErrTooManyWaits = machine1.Errorf(machine1.ErrLimitsExceeded,
		"You wait for %d machines already; try again when one of them is ready, or end who waits", MaxWaits)
	// ErrMachineGone is the cause why an operation on a machine ended.
	ErrMachineGone = fmt.Errorf("the machine has gone meanwhile: %w", machine1.ErrNoSuchMachine)
)

// A Set is the operations that go on. It is safe for concurrent use.
type Set struct {
	mu      sync.Mutex
	count   int
	cancels map[string]map[*context.CancelCauseFunc]struct{} // by machine
	waits   map[uint32]int                                   // by user
}

// NewSet returns a set in which nothing goes on.
func NewSet() *Set {
	return &Set{cancels: map[string]map[*context.CancelCauseFunc]struct{}{}, waits: map[uint32]int{}}
}

// Full reports whether Begin would fail: a caller need not be asked for a
// password then.
func (s *Set) Full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count >= Max
}

// Begin counts an operation in until end is called, which must be done. The
// context it returns ends with ctx and, if machine is not "", with that
// machine, for the cause ErrMachineGone.
func (s *Set) Begin(ctx context.Context, machine string) (_ context.Context, end func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count >= Max {
		return nil, nil, ErrTooMany
	}
	ctx, cancel := context.WithCancelCause(ctx)
	key := &cancel
	s.count++
	if s.cancels[machine] == nil {
		s.cancels[machine] = map[*context.CancelCauseFunc]struct{}{}
	}
	s.cancels[machine][key] = struct{}{}
	return ctx, sync.OnceFunc(func() {
		cancel(nil)
		s.end(machine, key)
	}), nil
}

func (s *Set) end(machine string, key *context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count--
	delete(s.cancels[machine], key)
	if len(s.cancels[machine]) == 0 {
		delete(s.cancels, machine)
	}
}

// BeginWait counts a wait of user's in until end is called, which must be done.
// It does not count as an operation.
func (s *Set) BeginWait(user uint32) (end func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waits[user] >= MaxWaits {
		return nil, ErrTooManyWaits
	}
	s.waits[user]++
	return sync.OnceFunc(func() { s.endWait(user) }), nil
}

func (s *Set) endWait(user uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waits[user]--; s.waits[user] == 0 {
		delete(s.waits, user)
	}
}

// MachineGone ends the operations on the machine called name. It does not
// block, so the registry may call it while it holds its lock.
func (s *Set) MachineGone(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for cancel := range s.cancels[name] {
		(*cancel)(ErrMachineGone)
	}
}
