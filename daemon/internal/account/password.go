package account

import (
	"os"
	"regexp"

	"github.com/machd/machd/daemon/internal/rootfs"
)

// A Password is what a system is to know a password by.
type Password struct {
	Hash     string // as crypt(3) makes it, by what all systems know; or something that no password has
	Yescrypt string // the same password by yescrypt, or ""
}

// Valid reports whether p can be in shadow(5).
func (p Password) Valid() bool {
	return ValidHash(p.Hash) && (p.Yescrypt == "" || ValidHash(p.Yescrypt))
}

// What a system hashes new passwords by: its own programs, and PAM's module.
//
// Reference: login.defs(5), pam_unix(8).
var (
	methodOfPrograms = regexp.MustCompile(`(?im)^[ \t]*ENCRYPT_METHOD[ \t]+"?yescrypt\b`)
	methodOfPAM      = regexp.MustCompile(`(?im)^[^#\n]*pam_unix[.]so[^\n]*[ \t]yescrypt\b`)
)

// hashFor returns the hash for the system below root. What it uses itself its
// crypt(3) understands; that of another one might not.
func (p Password) hashFor(root *os.File) string {
	if p.Yescrypt == "" {
		return p.Hash
	}
	for path, method := range map[string]*regexp.Regexp{
		"etc/login.defs": methodOfPrograms, "usr/etc/login.defs": methodOfPrograms,
		"etc/pam.d/common-password": methodOfPAM, "etc/pam.d/system-auth": methodOfPAM,
	} {
		if text, err := rootfs.ReadFile(root, path, maxAccounts); err == nil && method.Match(text) {
			return p.Yescrypt
		}
	}
	return p.Hash
}
