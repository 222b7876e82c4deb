package access

import (
	"os"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/pkg/machine1"
)

// MayOpen refuses a terminal in a machine of an unprivileged user whose
// processes are users of the host: whoever may register a process of his own
// would get a root shell on the host through it. A user's own daemon can give
// nobody more than he has.
//
// Reference: machine-dbus.c, bus_machine_method_open_shell; machine-varlink.c,
// vl_method_open [258].
func MayOpen(m machine.Machine) error {
	if m.UID == uint32(os.Geteuid()) || m.Leader == nil {
		return nil
	}
	same, err := m.Leader.SameNamespace("user")
	if err != nil {
		return err
	}
	if same {
		return machine1.Errorf(machine1.ErrAccessDenied, "Only root may shell into the root user namespace")
	}
	return nil
}
