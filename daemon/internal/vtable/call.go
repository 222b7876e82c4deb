package vtable

import (
	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/wire"
)

// A Call is a method call as its handler sees it. It must not be kept longer
// than the handler runs.
type Call struct {
	Sender    string // unique name
	Path      dbus.ObjectPath
	Interface string // "" if the caller left it out
	Member    string
	// Interactive says that the caller agrees to wait for a password prompt.
	Interactive bool

	message *wire.Message
}

func newCall(m *wire.Message) *Call {
	return &Call{
		Sender:      m.Sender,
		Path:        m.Path,
		Interface:   m.Interface,
		Member:      m.Member,
		Interactive: m.Flags&wire.AllowInteractiveAuthorization != 0,
		message:     m,
	}
}

// TakeFD makes the handler the owner of a descriptor that it got as an
// argument, or in one; the others are closed when the handler returns. It
// returns -1 if the descriptor did not come with the call or has been taken.
func (c *Call) TakeFD(fd dbus.UnixFD) int {
	if c.message == nil || fd < 0 {
		return -1
	}
	for i, own := range c.message.FDs {
		if own == int(fd) {
			c.message.FDs[i] = -1
			return own
		}
	}
	return -1
}
