package machd

import (
	"slices"
	"strings"

	"github.com/machd/machd/pkg/machine1"
)

// A SourceKind says what an image is made of.
type SourceKind string

// The kinds of sources.
const (
	SourceDebian  SourceKind = "debian"
	SourceUbuntu  SourceKind = "ubuntu"
	SourceFedora  SourceKind = "fedora"
	SourceCentOS  SourceKind = "centos-stream"
	SourceOCI     SourceKind = "oci"     // an image of a registry
	SourceMachine SourceKind = "machine" // another image, or the one that a machine runs from
	SourceURL     SourceKind = "url"     // an archive or disk image to be downloaded
	SourceFile    SourceKind = "file"    // a directory, archive or disk image that the caller has opened
)

// SourceGiven is how a source is spelled that comes as a descriptor.
const SourceGiven = "file"

// distributions are those whose name stands before a version.
var distributions = []SourceKind{SourceDebian, SourceUbuntu, SourceFedora, SourceCentOS}

// A Source is what an image is made of.
type Source struct {
	Kind SourceKind
	Name string // the version, reference, machine or URL; "" of SourceFile
}

// ParseSource reads a source as it is spelled on the bus: a distribution and its
// version as "debian:13", "oci:REFERENCE", "machine:NAME", a URL of http or
// https, or "file". The error is machine1.ErrInvalidArgs.
func ParseSource(text string) (Source, error) {
	if text == SourceGiven {
		return Source{Kind: SourceFile}, nil
	}
	if strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://") {
		return Source{SourceURL, text}, nil
	}
	kind, name, named := strings.Cut(text, ":")
	s := Source{SourceKind(kind), name}
	switch {
	case !named || name == "":
	case slices.Contains(distributions, s.Kind):
		if validVersion(name) {
			return s, nil
		}
	case s.Kind == SourceMachine:
		if machine1.ValidImageName(name) {
			return s, nil
		}
	case s.Kind == SourceOCI:
		return s, nil
	}
	return Source{}, machine1.Errorf(machine1.ErrInvalidArgs, "'%s' is nothing that an image can be made of", text)
}

// String returns s as ParseSource reads it.
func (s Source) String() string {
	switch s.Kind {
	case SourceFile:
		return SourceGiven
	case SourceURL:
		return s.Name
	}
	return string(s.Kind) + ":" + s.Name
}

// validVersion keeps out what programs would take for an option or a path.
func validVersion(text string) bool {
	for i := range len(text) {
		c := text[i]
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '.' && c != '-' && c != '+') {
			return false
		}
	}
	return text != ""
}
