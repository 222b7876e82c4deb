package main

import (
	"net/url"
	"path"
	"strings"

	"github.com/machd/machd/pkg/machine1"
)

// Suffixes of files that are no part of an image's name.
//
// Reference: import-util.c, tar_strip_suffixes, raw_strip_suffixes.
var (
	tarSuffixes = []string{".tar", ".tar.xz", ".tar.gz", ".tar.bz2", ".tar.zst", ".tgz"}
	rawSuffixes = []string{".xz", ".gz", ".bz2", ".zst", ".sysext.raw", ".confext.raw", ".raw", ".qcow2", ".img", ".bin"}
)

// An archive is a kind of file that images come in.
type archive struct {
	suffixes []string
	all      bool // of them are stripped, not one
}

var (
	tarArchive = archive{suffixes: tarSuffixes}
	rawArchive = archive{suffixes: rawSuffixes, all: true}
	noArchive  = archive{}
)

// strip returns the name that an image gets of a file's.
func (k archive) strip(name string) string {
	for again := true; again; {
		again = false
		for _, suffix := range k.suffixes {
			if rest, ok := strings.CutSuffix(name, suffix); ok {
				name, again = rest, k.all
				break
			}
		}
	}
	return name
}

// imageName returns the name that an image gets: the one that is given, else
// the last part of where it comes from.
func (k archive) imageName(given, from string) (string, error) {
	name := given
	if name == "" {
		name = path.Base(from)
	}
	name = k.strip(name)
	if machine1.ValidImageName(name) {
		return name, nil
	}
	if given == "" {
		return "", usagef("%s: no image can be called %q, so give a NAME behind it", from, name)
	}
	return "", usagef("%q cannot be an image's name", given)
}

// checkURL refuses what systemd-importd cannot download from.
func checkURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme == "":
		return nil, usagef("%q is no URL: it begins with https://, http:// or file://", text)
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "", u.Scheme == "file" && path.IsAbs(u.Path):
		return u, nil
	}
	return nil, usagef("%q cannot be downloaded from: a URL of http://, https:// or file:///PATH is", text)
}

// checkReference returns the name of the image that an OCI reference names:
// [REGISTRY[:PORT]/]IMAGE[:TAG].
func checkReference(text string) (name string, err error) {
	last := text[strings.LastIndexByte(text, '/')+1:]
	name, tag, tagged := strings.Cut(last, ":")
	if name == "" || tagged && tag == "" || strings.Contains(text, "://") || strings.ContainsAny(text, "?# \t") {
		return "", usagef("%q is no OCI reference: it is [REGISTRY[:PORT]/]IMAGE[:TAG], as debian:13 or quay.io/fedora/fedora:42", text)
	}
	name, _, _ = strings.Cut(name, "@")
	return name, nil
}
