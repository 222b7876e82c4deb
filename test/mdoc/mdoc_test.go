package mdoc

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestText(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, want string }{
		{"One thing. Another", "One thing.\nAnother\n"},
		{".nspawn files", "\\&.nspawn files\n"},
		{"with --force or -f, as well-known", "with \\-\\-force or \\-f, as well-known\n"},
		{`a\b NAME…`, "a\\eb NAME...\n"},
		{
			"A sentence that is so long that it needs more than the one line that is there for it.",
			"A sentence that is so long that it needs more than the one line that is there\nfor it.\n",
		},
	} {
		if diff := cmp.Diff(test.want, Text(test.text)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.text, diff)
		}
	}
}

func TestFromMarkdown(t *testing.T) {
	t.Parallel()
	const document = "# Title\n\nIt is [here](x.md).\n\n*Left out.*\n\n## Part `a`\n\n### Call\n\n`Call(s x)`\n\nDoes it.\n\n" +
		"| option | type | |\n|---|---|---|\n| `a` | `b` | this \\| that |\n"
	const want = "It is here.\n.Sh PART A\n.Ss Call\n.Bd -ragged -compact\nCall(s x)\n.Ed\n.Pp\nDoes it.\n" +
		".Bl -tag -width Ds\n.It \"a  b\"\nthis \\*(Ba that\n.El\n"
	if diff := cmp.Diff(want, FromMarkdown(document)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
