package machine1test

import (
	"maps"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
)

// planStart plans a change for each option, and one of a file for "save".
func (w *World) planStart(msg dbus.Message, name string, o map[string]dbus.Variant) (string, []machd.Change, *dbus.Error) {
	if err := w.enter(msg, name, o); err != nil {
		return "", nil, err
	}
	if _, ok := w.image(name); !ok {
		return "", nil, Error("org.freedesktop.machine1.NoSuchImage", "There is no image '%s'", name)
	}
	changes := []machd.Change{}
	for _, option := range slices.Sorted(maps.Keys(o)) {
		switch value := o[option].Value().(type) {
		case []string:
			if option == "publish" {
				changes = append(changes, machd.Change{Kind: "rule", Name: "nftables", To: "map ports {\n\t" + strings.Join(value, "\n\t") + "\n}\n"})
				continue
			}
			for _, text := range value {
				path, _, _ := strings.Cut(text, ":")
				changes = append(changes, machd.Change{Kind: "mount", Name: path, To: path})
			}
		case string:
			changes = append(changes, machd.Change{Kind: "property", Name: option, From: "infinity", To: value})
		case bool:
			changes = append(changes, machd.Change{Kind: "file", Name: "/etc/file", From: "kept\nold\n", To: "kept\nnew\n"})
		}
	}
	return "machine-" + name + ".service", changes, nil
}
