// Package wire is a connection to a bus for the serving side: it greets the
// bus, cuts the stream into messages, and marshals values. Whatever a peer
// sends costs a bounded amount of memory and leaves no descriptor behind. It
// must not know what an object or a method is.
package wire

import "errors"

// Type says what a message is.
type Type byte

// The message types.
const (
	TypeCall   Type = 1
	TypeReply  Type = 2
	TypeError  Type = 3
	TypeSignal Type = 4
)

// Flags are the flags of a message's header.
type Flags byte

// The flags.
const (
	NoReplyExpected               Flags = 1
	NoAutoStart                   Flags = 2
	AllowInteractiveAuthorization Flags = 4
)

// What we accept and send, in bytes. The bus would let through 128 MiB.
const (
	// MaxBody is the longest body that is read. Longer ones are skipped.
	MaxBody = 1 << 20
	// MaxReply is the longest body that is sent. A bus ends the connection of
	// a sender of more than it likes, 32 MiB for dbus-daemon.
	MaxReply = 16 << 20

	maxHeader  = 1 << 20
	maxMessage = 128 << 20
	// maxFDs is what the kernel passes at once (SCM_MAX_FD).
	maxFDs = 253
	// maxDepth bounds the containers and variants inside one another.
	maxDepth = 64
)

// ErrLimit is in every error that means "well-formed, but more than we take".
var ErrLimit = errors.New("limits exceeded")

// errMalformed is in every error that means "not as the D-Bus specification
// says". The bus checks messages, so a malformed header ends the connection.
var errMalformed = errors.New("malformed message")
