package netns

import (
	"testing"

	"golang.org/x/sys/unix"
)

// An answer for another namespace is the kernel ignoring the question: the
// host's addresses must not pass for a machine's.
func TestAnswersSayWhichNamespaceTheyAreAbout(t *testing.T) {
	t.Parallel()
	about := func(attributes ...uint32) message {
		r := newRequest(unix.RTM_NEWADDR, 0, make([]byte, unix.SizeofIfAddrmsg))
		for _, id := range attributes {
			r.add(unix.IFA_TARGET_NETNSID, id)
		}
		for m, err := range messages(r.bytes(1)) {
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		return message{}
	}
	tests := []struct {
		name string
		m    message
		ns   nsid
		want bool
	}{
		{"about the one asked for", about(7), 7, true},
		{"about another", about(8), 7, false},
		{"about nothing in particular", about(), 7, false},
		{"about ours", about(), ours, true},
		{"about another instead of ours", about(7), ours, false},
	}
	for _, test := range tests {
		if got := test.m.isAbout(test.ns, unix.SizeofIfAddrmsg, unix.IFA_TARGET_NETNSID); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

func FuzzMessages(f *testing.F) {
	r := newRequest(unix.RTM_NEWADDR, 0, []byte{unix.AF_INET, 24, 0, 0, 1, 0, 0, 0})
	r.add(unix.IFA_LOCAL, 0x0100000a)
	f.Add(r.bytes(1))
	f.Fuzz(func(t *testing.T, b []byte) {
		for m, err := range messages(b) {
			if err != nil {
				return
			}
			m.ends()
			m.isAbout(7, unix.SizeofIfAddrmsg, unix.IFA_TARGET_NETNSID)
			if a, ok := parseAddress(m); ok && !a.addr.IsValid() {
				t.Errorf("address %+v", a)
			}
			parseLink(m)
		}
	})
}
