package launch

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A condition of a unit, or something it asserts.
type condition struct {
	Type            string
	Trigger, Negate bool
	Parameter       string
}

func (p properties) assignCondition(key, text string) error {
	property := "Conditions"
	if strings.HasPrefix(key, "Assert") {
		property = "Asserts"
	}
	c := condition{Type: key}
	text, c.Trigger = strings.CutPrefix(text, "|")
	text, c.Negate = strings.CutPrefix(text, "!")
	c.Parameter = text
	return p.grow(property, c)
}

// grow appends to a list of structures.
func (p properties) grow(name string, element any) error {
	list, err := appended(p[name].Value(), structures[name], element)
	if err != nil {
		return err
	}
	p.set(name, list)
	return nil
}

// A command is one that a unit runs.
type command struct {
	Path  string
	Argv  []string // with the first one, the program's name
	Flags []string // ignore-failure and so on
}

var commandFlags = map[byte]string{'-': "ignore-failure", '+': "privileged", '!': "no-setuid", ':': "no-env-expand"}

func parseCommand(text string) (c command, err error) {
	c.Argv, err = splitWords(text)
	if err != nil {
		return command{}, err
	}
	if len(c.Argv) == 0 {
		return command{}, fmt.Errorf("%q is no command", text)
	}
	c.Path = c.Argv[0]
	for c.Path != "" && commandFlags[c.Path[0]] != "" {
		c.Flags = append(c.Flags, commandFlags[c.Path[0]])
		c.Path = c.Path[1:]
	}
	if !strings.HasPrefix(c.Path, "/") {
		return command{}, fmt.Errorf("%q is no absolute path of a program", c.Path)
	}
	c.Argv[0] = c.Path
	return c, nil
}

// assignStructure sets those of the properties with structures that people set
// by hand.
func (p properties) assignStructure(name, text string) error {
	if text == "" {
		return p.reset(name)
	}
	list, err := splitWords(text)
	if err != nil {
		return err
	}
	switch structures[name] {
	case execs:
		c, err := parseCommand(text)
		if err != nil {
			return err
		}
		return p.grow(name, c)
	case "(aiai)":
		return p.assignStatuses(name, list)
	case "(bas)":
		return p.assignFilter(name, text)
	case "a(iayu)":
		return p.assignPrefixes(name, list)
	case "a(st)":
		if len(list) != 2 {
			return fmt.Errorf("%q is not a path and a number", text)
		}
		n, err := parseSize(list[1])
		if err != nil {
			return err
		}
		return p.grow(name, []any{list[0], n})
	}
	switch name {
	case "DeviceAllow":
		if len(list) > 2 {
			return fmt.Errorf("%q is not a device and what is allowed, as /dev/fuse rw is", text)
		}
		return p.grow(name, []any{list[0], append(list, "rwm")[1]})
	case "EnvironmentFiles":
		path, optional := strings.CutPrefix(text, "-")
		return p.grow(name, []any{path, optional})
	case "BindPaths", "BindReadOnlyPaths":
		return p.assignBinds(name, list)
	}
	return fmt.Errorf("only a drop-in of the unit can set it")
}

// reset empties a property.
func (p properties) reset(name string) error {
	t, _, err := goType(structures[name])
	if err != nil {
		return err
	}
	p.set(name, emptyOf(t))
	return nil
}

func (p properties) assignStatuses(name string, list []string) error {
	statuses, signals := []int32{}, []int32{}
	for _, word := range list {
		if n, err := strconv.ParseUint(word, 10, 8); err == nil {
			statuses = append(statuses, int32(n))
			continue
		}
		signal, err := parseSignal(word)
		if err != nil {
			return err
		}
		signals = append(signals, signal)
	}
	value, err := merged(p[name].Value(), structures[name], []any{statuses, signals})
	if err != nil {
		return err
	}
	p.set(name, value)
	return nil
}

// assignFilter sets a list of what is allowed, or with ~ of what is not.
func (p properties) assignFilter(name, text string) error {
	text, denied := strings.CutPrefix(text, "~")
	list, err := splitWords(text)
	if err != nil {
		return err
	}
	value, err := typed(structures[name], []any{!denied, list})
	if err != nil {
		return err
	}
	p.set(name, value)
	return nil
}

func (p properties) assignPrefixes(name string, list []string) error {
	named := map[string][]string{
		"any": {"0.0.0.0/0", "::/0"}, "localhost": {"127.0.0.0/8", "::1/128"},
		"link-local": {"169.254.0.0/16", "fe80::/64"}, "multicast": {"224.0.0.0/4", "ff00::/8"},
	}
	for _, word := range list {
		texts, ok := named[word]
		if !ok {
			texts = []string{word}
		}
		for _, text := range texts {
			prefix, err := netip.ParsePrefix(text)
			if addr, addrErr := netip.ParseAddr(text); addrErr == nil {
				prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
			}
			if err != nil {
				return fmt.Errorf("%q is no address or prefix", text)
			}
			family := int32(2) // AF_INET
			if prefix.Addr().Is6() {
				family = 10 // AF_INET6
			}
			if err := p.grow(name, []any{family, prefix.Addr().AsSlice(), uint32(prefix.Bits())}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p properties) assignBinds(name string, list []string) error {
	const recursive = 0x4000 // MS_REC
	for _, word := range list {
		word, optional := strings.CutPrefix(word, "-")
		parts := strings.SplitN(word, ":", 3)
		source, destination, flags := parts[0], parts[0], uint64(recursive)
		if len(parts) > 1 {
			destination = parts[1]
		}
		if len(parts) > 2 && parts[2] == "norbind" {
			flags = 0
		}
		if err := p.grow(name, []any{source, destination, optional, flags}); err != nil {
			return err
		}
	}
	return nil
}
