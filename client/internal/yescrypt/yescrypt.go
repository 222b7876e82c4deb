// Package yescrypt hashes passwords as crypt(3) of libxcrypt does by default. Who
// guesses needs 16 MiB of memory for each guess, and so much more hardware than for
// SHA-512.
package yescrypt

import (
	"crypto/rand"

	"github.com/go-crypt/x/yescrypt"
)

const (
	// parameters are those of crypt_gensalt(3): 2¹² blocks of 32 × 128 bytes.
	parameters = "$y$j9T$"
	saltSize   = 16 // bytes
)

// Hash returns the hash of a password, with salt that nobody has used before.
func Hash(password string) (string, error) {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	return hash(password, parameters+string(yescrypt.Encode64(salt)))
}

func hash(password, setting string) (string, error) {
	text, err := yescrypt.Hash([]byte(password), []byte(setting))
	return string(text), err
}
