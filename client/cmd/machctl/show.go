package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

// unprintable stands for a value that has no text.
const unprintable = "[unprintable]"

// show prints properties of machines, or of the daemon if none is named.
func (a *app) show(ctx context.Context, names []string) error {
	if err := a.connect(ctx); err != nil {
		return err
	}
	if len(names) == 0 {
		ctx, cancel := a.limit(ctx)
		defer cancel()
		properties, err := a.client.ManagerProperties(ctx)
		if err != nil {
			return err
		}
		return a.printProperties([][]machine1.Property{properties})
	}
	return a.showEach(names, func(name string) ([]machine1.Property, error) { return a.propertiesOf(ctx, name) })
}

// showEach shows the properties of what has names.
func (a *app) showEach(names []string, properties func(name string) ([]machine1.Property, error)) error {
	shown, err := gather(a, names, properties)
	return join(err, a.printProperties(shown))
}

// printProperties prints blocks of properties, or objects.
func (a *app) printProperties(all [][]machine1.Property) error {
	objects := make([]object, len(all))
	blocks := make([]string, len(all))
	for i, properties := range all {
		objects[i] = a.propertiesObject(properties)
		blocks[i] = a.showText(properties)
	}
	done, err := a.printObjects(objects)
	if !done {
		a.ui.page(strings.Join(blocks, "\n"))
	}
	return err
}

// propertiesObject has the names that properties have on the bus, and no text
// where there is a better type: times are RFC 3339, and what has no limit or is
// unknown is null.
func (a *app) propertiesObject(properties []machine1.Property) object {
	o := object{}
	for _, p := range properties {
		if wanted, _ := a.wanted(p.Name); wanted {
			o = append(o, field{p.Name, propertyValue(p)})
		}
	}
	return o
}

func propertyValue(p machine1.Property) any {
	switch value := p.Value.Value().(type) {
	case string:
		return jsonValue(value)
	case uint64:
		if strings.HasSuffix(p.Name, "Timestamp") {
			return jsonValue(timeOf(value))
		}
		if value == ^uint64(0) {
			return nil
		}
		return value
	case uint32:
		if value == ^uint32(0) {
			return nil
		}
		return value
	case []byte:
		return jsonValue(hex.EncodeToString(value))
	case []int32:
		if value == nil {
			return []int32{}
		}
		return value
	default:
		return value
	}
}

func (a *app) propertiesOf(ctx context.Context, name string) ([]machine1.Property, error) {
	ctx, cancel := a.limit(ctx)
	defer cancel()
	properties, err := a.client.MachineProperties(ctx, name)
	return properties, lookupError(err)
}

// lookupError puts it that a machine is unknown in the words that scripts look
// for.
func lookupError(err error) error {
	var remote *machine1.RemoteError
	if errors.Is(err, machine1.ErrNoSuchMachine) && errors.As(err, &remote) {
		return machine1.Errorf(machine1.ErrNoSuchMachine, "Could not get path to machine: %s", remote)
	}
	return err
}

func (a *app) showText(properties []machine1.Property) string {
	var b strings.Builder
	for _, p := range properties {
		wanted, only := a.wanted(p.Name)
		if !wanted {
			continue
		}
		text, ok := propertyText(p)
		if !ok && !a.all && len(a.properties) == 0 || len(only) > 0 && !slices.Contains(only, text) {
			continue
		}
		if !a.value {
			b.WriteString(p.Name + "=")
		}
		b.WriteString(text + "\n")
	}
	return b.String()
}

// wanted reports whether --property asks for the property, and which values it
// asks for if not for any.
func (a *app) wanted(name string) (wanted bool, only []string) {
	for _, asked := range a.properties {
		askedName, value, filtered := strings.Cut(asked, "=")
		switch {
		case askedName != name:
		case !filtered:
			return true, nil
		default:
			wanted, only = true, append(only, value)
		}
	}
	return wanted || len(a.properties) == 0, only
}

// propertyText returns a property's value as text, and whether it is worth
// showing to somebody who did not ask for it.
//
// Reference: bus-print-properties.c, bus_print_property.
func propertyText(p machine1.Property) (text string, ok bool) {
	switch value := p.Value.Value().(type) {
	case string:
		return stringText(value)
	case bool:
		if value {
			return "yes", true
		}
		return "no", true
	case uint64:
		return timeText(p.Name, value)
	case uint32:
		if value == ^uint32(0) && (p.Name == "UID" || p.Name == "GID") {
			return "[not set]", true
		}
		return strconv.FormatUint(uint64(value), 10), true
	case int32, int64, uint16, int16, byte:
		return fmt.Sprint(value), true
	case float64:
		return strconv.FormatFloat(value, 'g', 6, 64), true
	case []byte:
		return fmt.Sprintf("%x", value), len(value) > 0
	case []string:
		return listText(value)
	case dbus.ObjectPath:
		return string(value), true
	case []int32:
		// Nobody who did not ask has ever seen these.
		return strings.Trim(fmt.Sprint(value), "[]"), false
	}
	return unprintable, false
}

func stringText(value string) (string, bool) {
	if strings.IndexFunc(value, unicode.IsControl) >= 0 {
		return unprintable, false
	}
	return value, value != ""
}

func timeText(name string, value uint64) (string, bool) {
	switch {
	case strings.HasSuffix(name, "Timestamp"):
		text := timestamp(timeOf(value))
		return text, text != ""
	case strings.HasPrefix(name, "Limit") && value == ^uint64(0):
		return "infinity", true
	}
	return strconv.FormatUint(value, 10), true
}

// listText quotes the words that a shell would split.
func listText(words []string) (string, bool) {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = word
		if word == "" || strings.ContainsAny(word, " \t\n\"'\\$`*?[]{}()<>|&;#~") {
			quoted[i] = strconv.Quote(word)
		}
	}
	return strings.Join(quoted, " "), len(words) > 0
}
