// Package shacrypt hashes passwords as crypt(3) does with SHA-512. Of the methods
// of crypt(3) that are any good it is the one that every system knows, glibc's
// and musl's, of ten years ago and of today: an image may be of any of them.
//
// Reference: Ulrich Drepper, Unix crypt using SHA-256 and SHA-512.
package shacrypt

import (
	"crypto/rand"
	"crypto/sha512"
	"strconv"
	"strings"
)

// rounds is how often it is hashed: a tenth of a second for who logs in.
const rounds = 100_000

const alphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Hash returns the hash of a password, with salt that nobody has used before.
func Hash(password string) string {
	salt := make([]byte, 16)
	rand.Read(salt)
	for i := range salt {
		salt[i] = alphabet[salt[i]%64]
	}
	return hash([]byte(password), salt, rounds)
}

// hash is the hash with a salt of 16 bytes at most. The steps have the numbers of
// the reference.
func hash(password, salt []byte, rounds int) string {
	// 4 to 8
	alternate := sha512.New()
	alternate.Write(password)
	alternate.Write(salt)
	alternate.Write(password)
	b := alternate.Sum(nil)
	// 1 to 3, 9 to 12
	digest := sha512.New()
	digest.Write(password)
	digest.Write(salt)
	digest.Write(repeat(b, len(password)))
	for n := len(password); n > 0; n >>= 1 {
		if n&1 != 0 {
			digest.Write(b)
		} else {
			digest.Write(password)
		}
	}
	a := digest.Sum(nil)
	// 13 to 16
	of := sha512.New()
	for range password {
		of.Write(password)
	}
	p := repeat(of.Sum(nil), len(password))
	// 17 to 20
	of = sha512.New()
	for range 16 + int(a[0]) {
		of.Write(salt)
	}
	s := repeat(of.Sum(nil), len(salt))
	// 21
	for round := range rounds {
		a = step(a, p, s, round)
	}
	// 22
	var out strings.Builder
	out.WriteString("$6$rounds=" + strconv.Itoa(rounds) + "$" + string(salt) + "$")
	for i := range 21 {
		x, y, z := i, i+21, i+42
		switch i % 3 {
		case 1:
			x, y, z = y, z, x
		case 2:
			x, y, z = z, x, y
		}
		write(&out, uint(a[x])<<16|uint(a[y])<<8|uint(a[z]), 4)
	}
	write(&out, uint(a[63]), 2)
	return out.String()
}

// step is one round.
func step(a, p, s []byte, round int) []byte {
	digest := sha512.New()
	odd := round%2 != 0
	if odd {
		digest.Write(p)
	} else {
		digest.Write(a)
	}
	if round%3 != 0 {
		digest.Write(s)
	}
	if round%7 != 0 {
		digest.Write(p)
	}
	if odd {
		digest.Write(a)
	} else {
		digest.Write(p)
	}
	return digest.Sum(nil)
}

// repeat returns n bytes of b, again and again.
func repeat(b []byte, n int) []byte {
	out := make([]byte, 0, n+len(b))
	for len(out) < n {
		out = append(out, b...)
	}
	return out[:n]
}

// write writes the low bits of value, six for each of n characters.
func write(out *strings.Builder, value uint, n int) {
	for range n {
		out.WriteByte(alphabet[value&63])
		value >>= 6
	}
}
