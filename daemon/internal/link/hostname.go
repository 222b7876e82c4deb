package link

import (
	"encoding/binary"
	"math/bits"
)

// HostName returns what systemd-nspawn calls the host's side of a machine's own
// link.
func HostName(machine string) string { return shortened("ve-" + machine) }

// PortName returns what systemd-nspawn calls it if it is a port of a bridge.
func PortName(machine string) string { return shortened("vb-" + machine) }

// nameKey is systemd-nspawn's key for shortening names of links.
var nameKey = [16]byte{
	0xe1, 0x90, 0xa4, 0x04, 0xa8, 0xef, 0x4b, 0x51, 0x8c, 0xcc, 0xc3, 0x3a, 0x9f, 0x11, 0xfc, 0xa2,
}

// digits are those of numbers in shortened names, each worth six bits.
const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// shortened returns name, or, where that is longer than the kernel takes, its
// beginning and four digits of its hash, as the naming scheme v245 of systemd
// has it and all later ones.
func shortened(name string) string {
	const longest, kept = 15, 11
	if len(name) <= longest {
		return name
	}
	hash := sipHash(nameKey, []byte(name))
	short := []byte(name[:kept])
	for shift := 18; shift >= 0; shift -= 6 {
		short = append(short, digits[hash>>shift&63])
	}
	return string(short)
}

// sipHash is SipHash-2-4.
//
// Reference: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012.
func sipHash(key [16]byte, text []byte) uint64 {
	k0, k1 := binary.LittleEndian.Uint64(key[:]), binary.LittleEndian.Uint64(key[8:])
	v := [4]uint64{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573}
	last := uint64(len(text)) << 56
	for ; len(text) >= 8; text = text[8:] {
		sipWord(&v, binary.LittleEndian.Uint64(text))
	}
	for i, b := range text {
		last |= uint64(b) << (8 * i)
	}
	sipWord(&v, last)
	v[2] ^= 0xff
	for range 4 {
		sipRound(&v)
	}
	return v[0] ^ v[1] ^ v[2] ^ v[3]
}

func sipWord(v *[4]uint64, word uint64) {
	v[3] ^= word
	sipRound(v)
	sipRound(v)
	v[0] ^= word
}

func sipRound(v *[4]uint64) {
	v[0] += v[1]
	v[2] += v[3]
	v[1] = bits.RotateLeft64(v[1], 13) ^ v[0]
	v[3] = bits.RotateLeft64(v[3], 16) ^ v[2]
	v[0] = bits.RotateLeft64(v[0], 32)
	v[2] += v[1]
	v[0] += v[3]
	v[1] = bits.RotateLeft64(v[1], 17) ^ v[2]
	v[3] = bits.RotateLeft64(v[3], 21) ^ v[0]
	v[2] = bits.RotateLeft64(v[2], 32)
}
