package machine1

import (
	"strings"
	"unicode/utf8"

	"github.com/godbus/dbus/v5"
)

const (
	maxMachineName = 64  // bytes, HOST_NAME_MAX
	maxImageName   = 255 // bytes, NAME_MAX
)

// ValidMachineName reports whether a machine may be registered as name:
// 1 to 64 bytes of letters, digits, '-' and '.', in labels that are not
// empty and neither begin nor end with '-'. An underscore is not allowed,
// although the manual pages of systemd say so.
//
// Reference: hostname-util.c, hostname_is_valid.
func ValidMachineName(name string) bool {
	if name == "" || len(name) > maxMachineName {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; !isAlnum(c) && c != '-' {
				return false
			}
		}
	}
	return true
}

// ValidLookupName is ValidMachineName, and .host as well.
func ValidLookupName(name string) bool {
	return name == Host || ValidMachineName(name)
}

// ValidImageName reports whether name can be an image's: a file name of at
// most 255 bytes, valid UTF-8 without control characters, that does not begin
// with ".#" (temporary and lock files).
//
// Reference: discover-image.c, image_name_is_valid.
func ValidImageName(name string) bool {
	if name == "" || len(name) > maxImageName || name == "." || name == ".." {
		return false
	}
	if strings.HasPrefix(name, ".#") || !utf8.ValidString(name) {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c == '/' || c < ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// MachinePath returns the object path of the machine called name.
func MachinePath(name string) dbus.ObjectPath {
	return ObjectPath + "/machine/" + dbus.ObjectPath(EscapeLabel(name))
}

// ImagePath returns the object path of the image called name.
func ImagePath(name string) dbus.ObjectPath {
	return ObjectPath + "/image/" + dbus.ObjectPath(EscapeLabel(name))
}

// MachineName returns the name of the machine whose object path is. Nothing
// says that there is such a machine.
func MachineName(path dbus.ObjectPath) (name string, ok bool) {
	return nameBelow(ObjectPath+"/machine/", path)
}

// ImageName returns the name of the image whose object path is, likewise.
func ImageName(path dbus.ObjectPath) (name string, ok bool) {
	return nameBelow(ObjectPath+"/image/", path)
}

func nameBelow(node, path dbus.ObjectPath) (name string, ok bool) {
	label, ok := strings.CutPrefix(string(path), string(node))
	if !ok || label == "" || strings.Contains(label, "/") {
		return "", false
	}
	return UnescapeLabel(label), true
}

// EscapeLabel makes name one element of an object path: every byte that is no
// letter or digit, and a leading digit, becomes '_' and two hex digits; the
// empty name becomes "_".
//
// Reference: bus-label.c, bus_label_escape.
func EscapeLabel(name string) string {
	if name == "" {
		return "_"
	}
	var b strings.Builder
	b.Grow(len(name) + 8)
	for i := range len(name) {
		c := name[i]
		if isAlnum(c) && (i > 0 || !isDigit(c)) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('_')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&15])
	}
	return b.String()
}

// UnescapeLabel undoes EscapeLabel. It is lenient: a '_' that is not followed
// by two hex digits stands for itself, and escaped letters are accepted.
//
// Reference: bus-label.c, bus_label_unescape_n.
func UnescapeLabel(label string) string {
	if label == "_" {
		return ""
	}
	var b strings.Builder
	b.Grow(len(label))
	for i := 0; i < len(label); i++ {
		if label[i] == '_' && i+2 < len(label) {
			hi, ok1 := unhex(label[i+1])
			lo, ok2 := unhex(label[i+2])
			if ok1 && ok2 {
				b.WriteByte(hi<<4 | lo)
				i += 2
				continue
			}
		}
		b.WriteByte(label[i])
	}
	return b.String()
}

// ScopeName returns the name of the scope that CreateMachine makes for name.
// libvirt derives it independently, so it is ABI.
func ScopeName(name string) string { return "machine-" + EscapeUnit(name) + ".scope" }

// ServiceUnit returns the instance of the stock template that starts name.
func ServiceUnit(name string) string { return "systemd-nspawn@" + name + ".service" }

// EscapeUnit escapes name as a part of a unit name: '/' becomes '-', and
// every byte other than letters, digits, ':', '_' and '.', and a leading '.',
// becomes \xNN.
//
// Reference: unit-name.c, unit_name_escape.
func EscapeUnit(name string) string {
	var b strings.Builder
	b.Grow(len(name) + 8)
	for i := range len(name) {
		switch c := name[i]; {
		case c == '/':
			b.WriteByte('-')
		case isAlnum(c) || c == ':' || c == '_' || (c == '.' && i > 0):
			b.WriteByte(c)
		default:
			b.WriteString(`\x`)
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}

const hexDigits = "0123456789abcdef"

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isAlnum(c byte) bool {
	return isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func unhex(c byte) (byte, bool) {
	switch {
	case isDigit(c):
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
