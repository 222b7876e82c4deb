package imagemaker

import (
	"net/url"
	"strings"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// madeOfPackages are the sources that options about packages make sense for.
var madeOfPackages = map[machd.SourceKind]bool{
	machd.SourceDebian: true, machd.SourceUbuntu: true, machd.SourceFedora: true, machd.SourceCentOS: true,
}

// check refuses a wish that makes no sense.
func (w Wish) check() error {
	o := w.Options
	switch packages := madeOfPackages[w.Source.Kind]; {
	case !packages && o.Mirror != "":
		return refuse("Option 'mirror' is for what is made of packages, not for '%s'", w.Source)
	case !packages && len(o.Packages) > 0:
		return refuse("Option 'packages' is for what is made of packages, not for '%s'", w.Source)
	}
	if o.Mirror != "" {
		if u, err := url.Parse(o.Mirror); err != nil || u.Scheme == "" || strings.ContainsAny(o.Mirror, " \t\n\"'\\,[]") {
			return refuse("'%s' is no URL of a mirror", o.Mirror)
		}
	}
	for _, p := range o.Packages {
		if !validPackage(p) {
			return refuse("'%s' cannot be a package", p)
		}
	}
	for _, key := range o.SSHKeys {
		if len(strings.Fields(key)) < 2 || strings.ContainsAny(key, "\n\x00") {
			return refuse("'%.40s' is no line of authorized_keys(5)", key)
		}
	}
	if strings.ContainsAny(o.RootPassword+o.RootYescrypt, ":\n\x00") {
		return refuse("The root password is no hash of crypt(5)")
	}
	return nil
}

func refuse(format string, args ...any) error {
	return machine1.Errorf(machine1.ErrInvalidArgs, format, args...)
}

// validPackage keeps out what a package manager would take for an option, a list
// or a file.
func validPackage(name string) bool {
	return name != "" && name[0] != '-' && !strings.ContainsFunc(name, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && !strings.ContainsRune("+-._:~@", r)
	})
}
