package yescrypt

import (
	"strings"
	"testing"
)

// What crypt(3) of libxcrypt 4.4.33 makes.
func TestHashesAreThoseOfCrypt(t *testing.T) {
	t.Parallel()
	for _, v := range []struct{ password, setting, want string }{
		{"c8", "$y$j9T$abcdefghijklmnopqrstu.", "3y9fuBQ3OKJ1OF/LFqzWoE1yZjsR95Kjbht1qKBbjm5"},
		{"", "$y$j9T$abcdefghijklmnopqrstu.", "4OlU5fmFx8ZqLCVsJ9SiUjEVNRZ9B1gIFoUS8X4a.87"},
		{"a much longer password, of more than sixty-four bytes, so that HMAC hashes it first", "$y$j9T$abcdefghijklmnopqrstu.", "Kq0OTp6369iHH2qrSDk75.TYLpJVtEdGNJ3rZCx5jIA"},
		{"pässwörd 日本", "$y$j9T$abcdefghijklmnopqrstu.", "2fDJfYaZXAPgqe7NmhoRsMnPde9woo.I/NbsgPDj4Z3"},
		{"c8", "$y$j75$8vQ1yP2x3z4A5B6C7D8E9.", "HsQEm1bM.AXX2kN0Z/uXxiwfXiQMfy5pPzcfo.6Emb0"},
	} {
		got, err := hash(v.password, v.setting)
		if want := v.setting + "$" + v.want; got != want || err != nil {
			t.Errorf("%q with %s: %s, %v; want %s", v.password, v.setting, got, err, want)
		}
	}
}

func TestNoTwoHashesAreAlike(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 3 {
		text, err := Hash("c8")
		if err != nil {
			t.Fatal(err)
		}
		again, err := hash("c8", text)
		if err != nil || again != text || seen[text] || !strings.HasPrefix(text, "$y$j9T$") || len(text) != 73 {
			t.Errorf("%q, and with its own setting %q, %v", text, again, err)
		}
		seen[text] = true
	}
}

func BenchmarkHash(b *testing.B) {
	for b.Loop() {
		if _, err := Hash("c8"); err != nil {
			b.Fatal(err)
		}
	}
}
