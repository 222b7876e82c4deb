package shacrypt

import (
	"strings"
	"testing"
)

// The vectors are those of the reference that give the rounds.
func TestVectors(t *testing.T) {
	t.Parallel()
	for _, v := range []struct {
		password, salt string
		rounds         int
		want           string
	}{
		{"Hello world!", "saltstringsaltst", 10000, "OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v."},
		{"This is just a test", "toolongsaltstrin", 5000, "lQ8jolhgVRVhY4b5pZKaysCLi0QBxGoNeKQzQ3glMhwllF7oGDZxUhx1yxdYcz/e1JSbq3y6JMxxl8audkUEm0"},
		{"a very much longer text to encrypt.  This one even stretches over more" + "than one line.", "anotherlongsalts", 1400,
			"POfYwTEok97VWcjxIiSOjiykti.o/pQs.wPvMxQ6Fm7I6IoYN3CmLs66x9t0oSwbtEW7o7UmJEiDwGqd8p4ur1"},
		{"we have a short salt string but not a short password", "short", 77777,
			"WuQyW2YR.hBNpjjRhpYD/ifIw05xdfeEyQoMxIXbkvr0gge1a1x3yRULJ5CCaUeOxFmtlcGZelFl5CxtgfiAc0"},
	} {
		got := hash([]byte(v.password), []byte(v.salt), v.rounds)
		if _, sum, _ := strings.Cut(got, v.salt+"$"); sum != v.want {
			t.Errorf("%q with %q: %s, want %s", v.password, v.salt, sum, v.want)
		}
	}
}

func TestNoTwoHashesAreAlike(t *testing.T) {
	t.Parallel()
	a, b := Hash("c8"), Hash("c8")
	if a == b || !strings.HasPrefix(a, "$6$rounds=100000$") {
		t.Errorf("%s and %s", a, b)
	}
}
