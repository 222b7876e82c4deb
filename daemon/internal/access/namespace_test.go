package access

import (
	"errors"
	"os"
	"testing"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

func TestNobodyOpensTheHostThroughAProcessOfHisOwn(t *testing.T) {
	t.Parallel()
	host, err := proc.Open(os.Getpid()) // in our user namespace
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	self, other := uint32(os.Geteuid()), uint32(os.Geteuid())+1
	for _, tt := range []struct {
		what string
		m    machine.Machine
		want error
	}{
		{"another user's", machine.Machine{UID: other, Leader: host}, machine1.ErrAccessDenied},
		{"the daemon's own user's", machine.Machine{UID: self, Leader: host}, nil},
		{"the host, which nobody registered", machine.Machine{UID: other}, nil},
	} {
		if err := MayOpen(tt.m); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%s: got %v, want %v", tt.what, err, tt.want)
		}
	}
}
