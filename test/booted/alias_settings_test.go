package booted

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// aliasSettings makes settings of all kinds, of machines that are not there.
const aliasSettings = `rm -rf /tmp/alias-settings /etc/systemd/nspawn/alias* /run/systemd/nspawn/alias-* /var/lib/machines/alias-*.nspawn
mkdir -p /tmp/alias-settings /etc/systemd/nspawn /run/systemd/nspawn
cd /tmp/alias-settings
printf 'X=1\n' >plain
for word in add:'for f; do echo "# added" >>"$f"; done' clear:'for f; do :>"$f"; done' spaces:'for f; do printf "\n \nX=1\n\n" >"$f"; done' \
	fail:'exit 3' die:'kill -9 $$' editor:'echo "there are $#"'; do
	printf '#!/bin/sh\n%s\n' "${word#*:}" >"${word%%:*}"
	chmod +x "${word%%:*}"
done
printf '[Exec]\nBoot=yes\n' >/etc/systemd/nspawn/alias-a.nspawn
printf '[Exec]\nBoot=no\n' >/run/systemd/nspawn/alias-a.nspawn
printf 'shadowed\n' >/var/lib/machines/alias-a.nspawn
printf 'this boot\n' >/run/systemd/nspawn/alias-run.nspawn
printf 'image\n' >/var/lib/machines/alias-image.nspawn
printf 'secret\n' >/etc/systemd/nspawn/alias-secret.nspawn
chmod 600 /etc/systemd/nspawn/alias-secret.nspawn
ln -s /dev/null /etc/systemd/nspawn/alias-mask.nspawn
ln -s alias-a.nspawn /etc/systemd/nspawn/alias-link.nspawn
ln -s nowhere /etc/systemd/nspawn/alias-nowhere.nspawn
:>/etc/systemd/nspawn/alias-empty.nspawn
`

// aliasSettingsLines show and edit them. $M is machinectl, and E=EDITOR what it
// edits with.
var aliasSettingsLines = []string{
	"$M cat alias-a", "$M cat alias-a.nspawn", "$M cat /etc/systemd/nspawn/alias-a.nspawn", "$M cat alias-run", "$M cat alias-image",
	"$M cat alias-secret", "$M cat alias-mask alias-empty", "$M cat alias-link", "$M cat alias-nowhere", "$M cat nobody alias-a nobody2", "$M cat nobody.nspawn",
	"$M cat ./alias-a.nspawn", "$M cat a/b", "$M cat .nspawn", "$M cat /etc/hosts", "$M cat //etc/hosts", "$M cat /etc/../etc/hosts", "$M cat /no/such alias-a",
	"$M cat alias-a /no/such", "$M cat -- -x",
	"$ALICE $M cat alias-a", "$ALICE $M cat alias-run", "$ALICE $M cat alias-image", "$ALICE $M cat alias-image alias-a", "$ALICE $M cat alias-secret",
	"$ALICE $M cat nobody", "$ALICE $M cat /etc/shadow",
	"EDITOR=true $M edit alias-a", "EDITOR=./add $M edit alias-a alias-run alias-image alias-new", "EDITOR=./add $M -q edit alias-a", "EDITOR=./clear $M edit alias-a alias-new",
	"EDITOR=./spaces $M edit alias-a", "EDITOR=./fail $M edit alias-a", "EDITOR=./die $M edit alias-a", "EDITOR=./editor $M edit alias-a alias-a.nspawn /etc/systemd/nspawn/alias-a.nspawn",
	"EDITOR=./add $M edit alias_a", "EDITOR=./add $M edit /tmp/alias-settings/plain", "EDITOR=./add $M edit /tmp/alias-settings/new/er", "EDITOR=./add $M edit ./plain", "EDITOR=./add $M edit a/b",
	"EDITOR=./add $M edit /tmp/../tmp/x", "EDITOR=./add $M edit alias-empty",
	"EDITOR=/no/such $M edit alias-a", "EDITOR='nosuch -x' VISUAL=./add $M edit alias-a", "SYSTEMD_EDITOR=/etc EDITOR=./add $M edit alias-a", "EDITOR=/etc/hosts $M edit alias-a",
}

// Called machinectl, machctl shows the settings that machinectl shows, and edits
// those, on a terminal and with the same words.
func TestMachdShowsAndEditsSettingsAsTheStockCommand(t *testing.T) {
	must(t, os.MkdirAll("/run/machd-alias", 0o755))
	own, err := exec.LookPath("machctl")
	must(t, err)
	must(t, os.Symlink(own, "/run/machd-alias/machinectl"))
	script := filepath.Join("/run/machd-alias", "line")
	t.Cleanup(func() {
		observe(t, "sh", "-c", aliasSettings+"rm -rf /run/machd-alias /tmp/alias-settings /etc/systemd/nspawn/alias* /run/systemd/nspawn/alias-* /var/lib/machines/alias-*.nspawn")
	})
	quotes := strings.NewReplacer("'(editor)'", "(editor)") // which 257 has not
	play := func(t *testing.T, command, line string) string {
		t.Helper()
		text := "export PATH=/tmp/alias-settings:$PATH M=" + command + " ALICE='" + strings.Join(asUser("alice"), " ") + "' SYSTEMD_PAGER=\n" +
			"cd /tmp/alias-settings\n" + line + "\n"
		must(t, os.WriteFile(script, []byte(text), 0o644))
		run(t, "sh", "-c", aliasSettings)
		o := observe(t, "script", "-qec", "sh "+script, "/dev/null")
		after := run(t, "sh", "-c", "cd /; for f in etc/systemd/nspawn/* run/systemd/nspawn/* var/lib/machines/*.nspawn tmp/alias-settings/new* tmp/alias-settings/plain; do stat -c '%n %F %a' $f; cat $f; done 2>/dev/null; true")
		return fmt.Sprintf("%s\nexit status %d\n%s", quotes.Replace(o.Stdout), o.Code, after)
	}
	for _, line := range aliasSettingsLines {
		t.Run(line, func(t *testing.T) {
			want, got := play(t, "/usr/bin/machinectl", line), play(t, "/run/machd-alias/machinectl", line)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-stock +ours):\n%s", diff)
			}
		})
	}
}
