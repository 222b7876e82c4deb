package main

import (
	"os"
	"testing"
)

func TestUTF8Locale(t *testing.T) {
	for _, row := range []struct {
		environment map[string]string
		want        bool
	}{
		{nil, true}, // as systemd's commands have it
		{map[string]string{"LANG": "C"}, false},
		{map[string]string{"LANG": ""}, false},
		{map[string]string{"LANG": "en_US.UTF-8"}, true},
		{map[string]string{"LANG": "en_US.UTF-8", "LC_ALL": "POSIX"}, false},
		{map[string]string{"LANG": "C", "LC_CTYPE": "ja_JP.utf8", "LC_ALL": ""}, true},
		{map[string]string{"LANG": "C", "SYSTEMD_UTF8": "1"}, true},
		{map[string]string{"LANG": "en_US.UTF-8", "SYSTEMD_UTF8": "no"}, false},
		{map[string]string{"LANG": "C", "SYSTEMD_UTF8": "perhaps"}, false},
	} {
		for _, name := range []string{"SYSTEMD_UTF8", "LC_ALL", "LC_CTYPE", "LANG"} {
			value, ok := row.environment[name]
			t.Setenv(name, value) // which has it as it was afterwards
			if !ok {
				os.Unsetenv(name)
			}
		}
		if got := utf8Locale(); got != row.want {
			t.Errorf("%v: %t", row.environment, got)
		}
	}
}
