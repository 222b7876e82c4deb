package machine

import "testing"

func TestPublicNames(t *testing.T) {
	for name, want := range map[string]bool{
		"com": true, "dev": true, "Dev": true, "co.uk": true,
		"c8-ns": false, "web": false, "example.com": false, "internal": false, "com1": false,
	} {
		if got := PublicName(name); got != want {
			t.Errorf("PublicName(%q) = %t", name, got)
		}
	}
}
