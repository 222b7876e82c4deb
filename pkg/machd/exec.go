package machd

import (
	"encoding/json"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// ExecOptions are what running a command in a machine can be told. The command
// is a program and its arguments; a program without a slash is looked for in
// the machine. No command at all, with Login, is the login shell of the user.
type ExecOptions struct {
	User        string   // user: a name or a number, of the machine; root if empty
	Directory   string   // directory: where to run it, an absolute path in the machine; the user's home if empty
	Environment []string // environment: NAME=VALUE
	Terminal    bool     // terminal: on a new terminal of the machine
	Rows        uint16   // rows: of the terminal; zero is not known
	Columns     uint16   // columns: likewise
	// Login is for a session of its own, as a login has it. On a terminal that
	// is a shell, which takes the right to machine1.ActionShell, as the stock
	// method's does, and not ActionExec.
	Login bool // login: in a session of its own, as a login has it; on a terminal that takes the right to org.freedesktop.machine1.shell instead
}

func (o *ExecOptions) table() table {
	return table{
		"user": &o.User, "directory": &o.Directory, "environment": &o.Environment,
		"terminal": &o.Terminal, "rows": &o.Rows, "columns": &o.Columns, "login": &o.Login,
	}
}

// Variants returns o as it goes over the bus.
func (o ExecOptions) Variants() map[string]dbus.Variant { return o.table().variants() }

// ParseExecOptions reads options that came over the bus, as ParseBindOptions
// does.
func ParseExecOptions(options map[string]dbus.Variant) (o ExecOptions, err error) {
	err = o.table().parse(options)
	return o, err
}

// A Descriptor is one of an array of them, which goes over the bus as a(h):
// godbus v5.2.4 cannot receive ah, and takes its program along.
type Descriptor struct{ FD dbus.UnixFD }

// A command that runs in a machine is held by a socket of the kind
// SOCK_SEQPACKET, whose other end the daemon has. Each packet is one JSON
// object: the caller sends an Order at any time, the daemon an Outcome once, and
// hangs up. A caller that hangs up first ends the command.

// MaxPacket is how long a packet may be, in bytes.
const MaxPacket = 4096

// An Order is what the caller sends.
type Order struct {
	Signal int `json:"signal"` // to the command
}

// A Failure says why a command has no exit status of its own.
type Failure string

// Why a command has none. It was run only if it is FailureLost.
const (
	FailureNotFound      Failure = "not-found"      // there is no such program in the machine
	FailureNotExecutable Failure = "not-executable" // there is, and it cannot be run
	FailureRefused       Failure = "refused"        // no such user or directory, or the machine cannot run commands
	FailureLost          Failure = "lost"           // nobody knows how it ended: the machine has gone, or the daemon
)

// An Outcome is how a command ended: by one of the three.
type Outcome struct {
	Exit    *int    `json:"exit,omitempty"`    // status, 0 to 255
	Signal  int     `json:"signal,omitempty"`  // that killed it
	Failure Failure `json:"failure,omitempty"` // and Message for a person
	Message string  `json:"message,omitempty"`
}

// Encode returns the packet that holds o.
func (o Outcome) Encode() []byte {
	if len(o.Message) > MaxPacket/8 { // a byte may become \\u0001
		o.Message = o.Message[:MaxPacket/8]
	}
	text, _ := json.Marshal(o)
	return text
}

// Encode returns the packet that holds o.
func (o Order) Encode() []byte {
	text, _ := json.Marshal(o)
	return text
}

// ParseOutcome reads a packet of the daemon's.
func ParseOutcome(packet []byte) (o Outcome, err error) {
	if err := json.Unmarshal(packet, &o); err != nil {
		return Outcome{}, fmt.Errorf("not the outcome of a command: %w", err)
	}
	if o.Exit == nil && o.Signal == 0 && o.Failure == "" {
		return Outcome{}, fmt.Errorf("not the outcome of a command: %q", packet)
	}
	return o, nil
}

// ParseOrder reads a packet of a caller's.
func ParseOrder(packet []byte) (o Order, err error) {
	if err := json.Unmarshal(packet, &o); err != nil {
		return Order{}, fmt.Errorf("not an order: %w", err)
	}
	if o.Signal < 1 || o.Signal > 64 {
		return Order{}, fmt.Errorf("there is no signal %d", o.Signal)
	}
	return o, nil
}
