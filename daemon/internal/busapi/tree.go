package busapi

import (
	"context"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

const (
	machineNode = string(machine1.ObjectPath) + "/machine"
	imageNode   = string(machine1.ObjectPath) + "/image"

	// selfLabel is the object that stands for the caller's own machine. It
	// shadows a machine of that name.
	selfLabel = "self"
)

// Find looks path up in the View of this moment: no object is ever exported,
// so none can be stale.
func (a *API) Find(ctx context.Context, c *vtable.Call, path dbus.ObjectPath) ([]vtable.Binding, bool) {
	switch p := string(path); p {
	case string(machine1.ObjectPath):
		if c.Member == "GetAll" {
			a = a.lookingOnce()
		}
		return managerBindings(a), true
	case logControlPath:
		return logControlBindings(a), true
	case machineNode, imageNode:
		return nil, true
	default:
		if label, ok := cutNode(p, machineNode); ok {
			m := a.machineAt(ctx, c, label)
			return machineBindings(machineObject{a, m}), m != nil
		}
		if label, ok := cutNode(p, imageNode); ok {
			i, err := a.images.Get(ctx, machine1.UnescapeLabel(label))
			return imageBindings(imageObject{a, i}), err == nil
		}
		return nil, isParent(p)
	}
}

// The stock interface comes first: a call that names no interface is for that
// one.

func managerBindings(a *API) []vtable.Binding {
	return []vtable.Binding{{Interface: &managerInterface, Target: a}, {Interface: &ownManagerInterface, Target: a}}
}

func machineBindings(o machineObject) []vtable.Binding {
	var target any = o // one copy for both
	return []vtable.Binding{{Interface: &machineInterface, Target: target}, {Interface: &ownMachineInterface, Target: target}}
}

func imageBindings(o imageObject) []vtable.Binding {
	return []vtable.Binding{{Interface: &imageInterface, Target: o}}
}

func logControlBindings(a *API) []vtable.Binding {
	return []vtable.Binding{{Interface: &logControlInterface, Target: a}}
}

// Children names the nodes directly below path.
func (a *API) Children(ctx context.Context, _ *vtable.Call, path dbus.ObjectPath) []string {
	switch p := string(path); p {
	case machineNode:
		var labels []string
		for m := range a.machines.View().All() {
			labels = append(labels, machine1.EscapeLabel(m.Name))
		}
		slices.Sort(labels)
		return labels
	case imageNode:
		images, err := a.images.List(ctx)
		if err != nil {
			return nil
		}
		labels := make([]string, 0, len(images))
		for _, i := range images {
			labels = append(labels, machine1.EscapeLabel(i.Name))
		}
		slices.Sort(labels)
		return labels
	default:
		return childrenOfParent(p)
	}
}

// machineAt returns the machine that label stands for, nil if there is none.
func (a *API) machineAt(ctx context.Context, c *vtable.Call, label string) *machine.Machine {
	if label != selfLabel {
		return a.machines.View().Lookup(machine1.UnescapeLabel(label))
	}
	caller, err := a.callers.BusCaller(ctx, c.Sender)
	if err != nil {
		return nil
	}
	defer caller.Close()
	if caller.PIDFD == nil {
		return nil
	}
	m, err := a.machines.ByPID(ctx, caller.PIDFD)
	if err != nil {
		return nil
	}
	return &m
}

// cutNode returns the one element that p has below node.
func cutNode(p, node string) (label string, ok bool) {
	label, ok = strings.CutPrefix(p, node+"/")
	return label, ok && label != "" && !strings.Contains(label, "/")
}

// fixedNodes are the objects that are always there.
var fixedNodes = []string{logControlPath, machineNode, imageNode}

// isParent reports whether a fixed object lies below p.
func isParent(p string) bool { return len(childrenOfParent(p)) > 0 }

func childrenOfParent(p string) []string {
	prefix := strings.TrimSuffix(p, "/") + "/"
	var children []string
	for _, node := range fixedNodes {
		if rest, ok := strings.CutPrefix(node, prefix); ok {
			child, _, _ := strings.Cut(rest, "/")
			children = append(children, child)
		}
	}
	slices.Sort(children)
	return slices.Compact(children)
}

// listed is m as ListMachines shows it.
func listed(m machine.Machine) machine1.ListedMachine {
	return machine1.ListedMachine{
		Name:    m.Name,
		Class:   string(m.Class),
		Service: m.Service,
		Path:    machine1.MachinePath(m.Name),
	}
}

// listedImage is i as ListImages shows it.
func listedImage(i image.Image) machine1.ListedImage {
	return machine1.ListedImage{
		Name:     i.Name,
		Type:     string(i.Type),
		ReadOnly: i.ReadOnly,
		Created:  i.Created,
		Modified: i.Modified,
		Usage:    i.Usage,
		Path:     machine1.ImagePath(i.Name),
	}
}
