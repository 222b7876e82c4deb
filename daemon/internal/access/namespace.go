package access

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/pkg/machine1"
)

// MayOpen refuses a terminal in a machine that is paused, where nobody would
// answer, and in one of an unprivileged user whose
// processes are users of the host: whoever may register a process of his own
// would get a root shell on the host through it. A user's own daemon can give
// nobody more than he has.
//
// Reference: machine-dbus.c, bus_machine_method_open_shell; machine-varlink.c,
// vl_method_open [258].
func MayOpen(m machine.Machine) error {
	if m.Leader == nil {
		return nil
	}
	if m.UID != uint32(os.Geteuid()) {
		same, err := m.Leader.SameNamespace("user")
		if err != nil {
			return err
		}
		if same {
			return machine1.Errorf(machine1.ErrAccessDenied, "Only root may shell into the root user namespace")
		}
	}
	// Where that cannot be told it is found out by trying.
	if frozen, err := m.Leader.Frozen(); err == nil && frozen {
		return machine1.Errorf(unix.EBUSY, "Machine '%s' is paused; \"machctl resume %[1]s\" has it go on", m.Name)
	}
	return nil
}
