package machd

import (
	"github.com/godbus/dbus/v5"
)

// A Verification says how what comes from elsewhere is checked.
type Verification string

// The verifications.
const (
	// VerifySignature takes nothing that the distribution, or whoever is
	// trusted to, has not signed. It is the default.
	VerifySignature Verification = "signature"
	// VerifyChecksum compares a download with the checksum beside it.
	VerifyChecksum Verification = "checksum"
	VerifyNo       Verification = "no"
)

func (v *Verification) valid() bool {
	return *v == VerifySignature || *v == VerifyChecksum || *v == VerifyNo
}

// CreateOptions are what making an image can be told.
type CreateOptions struct {
	Mirror       string       // mirror: where the packages come from, a URL
	Packages     []string     // packages: more of them
	Verify       Verification // verify: signature, the default; checksum; no
	RootPassword string       // root_password: of root in the image, as crypt(3) makes it
	RootYescrypt string       // root_yescrypt: the same password by yescrypt, for systems that use it themselves
	SSHKeys      []string     // ssh_keys: that root may log in with, lines of authorized_keys(5)
	ReadOnly     bool         // read_only: of the image
}

func (o *CreateOptions) table() table {
	return table{
		"mirror": &o.Mirror, "packages": &o.Packages, "verify": &o.Verify,
		"root_password": &o.RootPassword, "root_yescrypt": &o.RootYescrypt,
		"ssh_keys": &o.SSHKeys, "read_only": &o.ReadOnly,
	}
}

// Variants returns o as it goes over the bus.
func (o CreateOptions) Variants() map[string]dbus.Variant { return o.table().variants() }

// ParseCreateOptions reads options that came over the bus, as ParseBindOptions
// does. Verify is never zero.
func ParseCreateOptions(options map[string]dbus.Variant) (o CreateOptions, err error) {
	o.Verify = VerifySignature
	err = o.table().parse(options)
	return o, err
}

// PasswordOptions are what setting a password can be told.
type PasswordOptions struct {
	Yescrypt string // yescrypt: the same password by yescrypt, for a system that uses it itself
}

func (o *PasswordOptions) table() table { return table{"yescrypt": &o.Yescrypt} }

// Variants returns o as it goes over the bus.
func (o PasswordOptions) Variants() map[string]dbus.Variant { return o.table().variants() }

// ParsePasswordOptions reads options that came over the bus, as ParseBindOptions
// does.
func ParsePasswordOptions(options map[string]dbus.Variant) (o PasswordOptions, err error) {
	err = o.table().parse(options)
	return o, err
}
