package nspawnfile

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/test/mdoc"
)

var update = flag.Bool("update", false, "write the manual anew")

const manualFile = "../../man/machd.nspawn.5"

// The manual says what the table of keys says.
func TestManual(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(mdoc.Head("machd.nspawn", 5, "November 29, 2026", "what machd reads in the settings of a machine"))
	b.WriteString(manualIntro)
	b.WriteString(".Bl -tag -width Ds\n")
	for _, key := range OwnKeys {
		b.WriteString(".It " + mdoc.Literal(key.Name+"="+key.Value) + "\n" + mdoc.Text(key.Text))
		if key.Several {
			b.WriteString("It may be there several times, with several words each.\n")
		}
	}
	b.WriteString(".El\n" + manualTail)
	got := b.String()
	if *update {
		if err := os.WriteFile(manualFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(manualFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("man/machd.nspawn.5 is not what the table says; run the test with -update (-file +now):\n%s", diff)
	}
}

const manualIntro = `.Sh SYNOPSIS
.Pa /etc/systemd/nspawn/NAME.nspawn
.Pp
.Pa /run/systemd/nspawn/NAME.nspawn
.Sh DESCRIPTION
The settings of a machine are in a file of
.Xr systemd.nspawn 5 .
.Xr machd 8
reads a section of its own in that file,
.Li [X-Machd] ,
which
.Xr systemd-nspawn 1
passes over, and the links that the section
.Li [Network]
gives to the machine.
A file that came with the image, in
.Pa /var/lib/machines ,
is not heeded there: the section says what the host does.
.Pp
.Ql machctl edit NAME
edits the file and checks it,
.Ql machctl cat NAME
shows it and says which of its lines nobody acts on, and
.Ql machctl start --save
and
.Ql machctl port add --save
write it.
What is changed counts from the next start.
.Sh THE SECTION [X-MACHD]
`

const manualTail = `.Sh EXAMPLES
.Bd -literal -offset indent
[Network]
VirtualEthernet=yes

[X-Machd]
After=db
Address=10.0.1.2/24
Publish=8080:80 127.0.0.1:2222:22
ExposeHost=5432
.Ed
.Sh SEE ALSO
.Xr machctl 1 ,
.Xr systemd-nspawn 1 ,
.Xr systemd.nspawn 5 ,
.Xr machd 8
`
