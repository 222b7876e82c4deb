package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/machd/machd/pkg/machd"
)

// A finding may know how to mend what it is about. It does so only where that
// cannot do harm, and looks again itself before it does.
type finding struct {
	machd.Finding
	mend func(context.Context) error
	vain string // why that was tried in vain; "" if it was not
}

// trouble is an error that has a cause.
func trouble(what, why, command string) finding {
	return finding{Finding: machd.Finding{Level: machd.LevelError, What: what, Why: why, Command: command}}
}

// doubt is what may be meant so.
func doubt(what, why, command string) finding {
	return finding{Finding: machd.Finding{Level: machd.LevelWarning, What: what, Why: why, Command: command}}
}

// about returns f as one about something other than what was looked at.
func (f finding) about(subject string) finding {
	f.Subject = subject
	return f
}

// mendedBy returns f as one that fix can mend.
func (f finding) mendedBy(mend func(context.Context) error) finding {
	f.mend = mend
	return f
}

// unknown says that something could not be looked at.
func unknown(what string, err error) []finding {
	return []finding{doubt(fmt.Sprintf("%s cannot be looked at: %v", what, err), "", "")}
}

func plain(list []finding) []machd.Finding {
	out := make([]machd.Finding, len(list))
	for i, f := range list {
		out[i] = f.Finding
	}
	return out
}

// mend mends what can be, and returns how much that was.
func mend(ctx context.Context, list []finding) (tried int) {
	for i := range list {
		f := &list[i]
		if f.mend == nil {
			continue
		}
		tried++
		if err := f.mend(ctx); err != nil {
			f.vain = fmt.Sprintf("It could not be mended: %v.", err)
		}
	}
	return tried
}

// owned has what was tried in vain say so, and no longer that it can be done.
func owned(list []finding) []finding {
	for i := range list {
		if f := &list[i]; f.vain != "" {
			f.Why, f.Safe = sentence(f.Why, f.vain), false
		}
	}
	return list
}

func sentence(text, more string) string {
	if text == "" {
		return more
	}
	return text + " " + more
}

// missing returns what was mended of first: what is not found again. Of the rest
// second is told that it could not be mended, and why.
func missing(first, second []finding) (fixed []finding) {
	for _, f := range first {
		if f.mend == nil {
			continue
		}
		i := slices.IndexFunc(second, func(s finding) bool {
			return s.Check == f.Check && s.Subject == f.Subject && s.What == f.What
		})
		if i >= 0 {
			second[i].vain = cmp.Or(f.vain, "It could not be mended.")
			continue
		}
		f.Fixed = true
		fixed = append(fixed, f)
	}
	return fixed
}

// summary leaves what is wrong of a machine among many; if nothing is, one line
// says so.
func summary(name string, list []finding) []finding {
	bad := slices.DeleteFunc(slices.Clone(list), func(f finding) bool { return f.Level == machd.LevelOK })
	if len(bad) > 0 || len(list) == 0 {
		return bad
	}
	return []finding{{Finding: machd.Finding{
		Check: "machine", Subject: name, Level: machd.LevelOK, What: fmt.Sprintf("%d checks, all is well", len(list)),
	}}}
}
