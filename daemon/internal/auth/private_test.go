package auth

import (
	"errors"
	"os"
	"testing"

	"github.com/machd/machd/pkg/machine1"
)

func TestPrivateKeepsOthersFromOwnActionsOnly(t *testing.T) {
	t.Parallel()
	p := Private{Own: []string{machine1.ActionRegisterMachine}}
	self, other := Caller{UID: uint32(os.Geteuid())}, Caller{UID: uint32(os.Geteuid()) + 1}
	tests := []struct {
		caller  Caller
		action  string
		allowed bool
	}{
		{self, machine1.ActionRegisterMachine, true},
		{self, machine1.ActionManageMachines, true},
		{other, machine1.ActionRegisterMachine, false},
		{other, machine1.ActionManageMachines, true},
	}
	for _, tt := range tests {
		_, err := p.Check(t.Context(), tt.caller, Request{Action: tt.action})
		if (err == nil) != tt.allowed || err != nil && !errors.Is(err, machine1.ErrAccessDenied) {
			t.Errorf("user %d, %s: %v", tt.caller.UID, tt.action, err)
		}
	}
}
