package client

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/machd/machd/pkg/machine1"
)

// unheard returns a call that ends without an answer after each of these times,
// and after that with one.
func unheard(lasting ...time.Duration) func() error {
	return func() error {
		if len(lasting) == 0 {
			return nil
		}
		time.Sleep(lasting[0])
		lasting = lasting[1:]
		return machine1.ErrNoReply
	}
}

func TestEachDaemonThatHeardACallMayTakeItsTimeToBeAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := throughRestart(t.Context(), unheard(time.Minute, 30*time.Second, time.Minute, 0, 0, time.Hour))
		if err != nil {
			t.Error(err)
		}
	})
}

func TestADaemonThatEndsOverEachCallIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := throughRestart(t.Context(), func() error {
			time.Sleep(heardAfter / 2)
			return machine1.ErrNoReply
		})
		if took := time.Since(began); !errors.Is(err, machine1.ErrNoReply) || took > restartLimit+2*heardAfter {
			t.Errorf("%v after %v", err, took)
		}
	})
}
