package varlinkapi

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/netns"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machine1"
)

var (
	resourceKey = varlink.Struct("ResourceKey",
		varlink.Field{Name: "class", Doc: "1, IN, if left out", Type: varlink.Int, Nullable: true, NullIsAbsent: true, Valid: between(0, math.MaxUint16)},
		varlink.Field{Name: "type", Type: varlink.Int, Valid: between(0, math.MaxUint16)},
		varlink.Field{Name: "name", Type: varlink.String, Valid: isDomain})

	resolveQuestion = varlink.Struct("Question", varlink.Field{Name: "key", Type: resourceKey})

	resolveAnswerType = varlink.Struct("Answer",
		varlink.Field{Name: "rr", Doc: "The same for people", Type: resourceRecord, Nullable: true},
		varlink.Field{Name: "raw", Doc: "As DNS sends it, in base64", Type: varlink.String})
)

// hookInterface lets systemd-resolved find machines by name.
//
// Reference: varlink-io.systemd.Resolve.Hook.c, machined-resolve-hook.c [259].
var hookInterface = varlink.Interface[*API]{
	Name:  "io.systemd.Resolve.Hook",
	Doc:   "The addresses of machines, by their names",
	Types: []*varlink.Type{resolveAnswerType, resolveQuestion, resourceKey, resourceRecord},
	Methods: []varlink.Method[*API]{
		{
			Name: "QueryFilter",
			Doc:  "Tells which domains to ask for; with 'more', again whenever they change",
			Out: varlink.Fields{
				{Name: "filterDomains", Type: varlink.Array(varlink.String), Nullable: true},
				{Name: "filterLabelsMin", Type: varlink.Int, Nullable: true},
				{Name: "filterLabelsMax", Type: varlink.Int, Nullable: true},
			},
			More: varlink.Streams,
			Func: queryFilter,
		},
		{
			Name: "ResolveRecord",
			Doc:  "Answers a question about machines, and nothing ({}) to any other",
			In:   varlink.Fields{{Name: "question", Type: varlink.Array(resolveQuestion), Valid: func(v any) bool { return len(v.([]any)) > 0 }}},
			Out: varlink.Fields{
				{Name: "rcode", Doc: "0 for found, 3 for names below a machine's", Type: varlink.Int, Nullable: true},
				{Name: "answer", Type: varlink.Array(resolveAnswerType), Nullable: true},
			},
			Func: resolveRecord,
		},
	},
}

// ownsName reports whether the name of m, and all names below it, are its own. A
// machine called dev must not take all of that domain away from the host.
func ownsName(m machine.Machine) bool {
	return m.Class != machine1.ClassHost && !machine.PublicName(m.Name)
}

type filter struct {
	Domains []string `json:"filterDomains"`
}

// filterOf is never null: that would stand for all domains.
func filterOf(view *machine.View) filter {
	f := filter{Domains: make([]string, 0, view.Len())}
	for m := range view.All() {
		if ownsName(m) {
			f.Domains = append(f.Domains, m.Name)
		}
	}
	return f
}

// queryFilter sends the whole list whenever it may have changed. A caller who
// reads slowly misses lists, but never the last one.
func queryFilter(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	f := a.changes.follow()
	defer f.close()
	view := f.view
	f.view = nil
	if !c.More {
		return filterOf(view), nil
	}
	for {
		if err := c.Notify(filterOf(view)); err != nil {
			return nil, err
		}
		var err error
		if view, err = f.latest(ctx); err != nil {
			return nil, err
		}
	}
}

type resolved struct {
	Code    int              `json:"rcode"`
	Answers *[]resolveAnswer `json:"answer,omitempty"`
}

type resolveAnswer struct {
	Record addressResource `json:"rr"`
	Raw    string          `json:"raw"`
}

type addressResource struct {
	Key     resource `json:"key"`
	Address []int    `json:"address"`
}

type resource struct {
	Class uint16 `json:"class"`
	Type  uint16 `json:"type"`
	Name  string `json:"name"`
}

// resolveRecord owns the names of machines, and what is below them.
func resolveRecord(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	found, below := false, false
	answers := []resolveAnswer{}
	view := a.Machines.View()
	for _, q := range c.In.Array("question") {
		key := keyOf(q.(varlink.Object).Object("key"))
		m, ok := view.Get(key.Name)
		if !ok || !ownsName(m) {
			below = below || isBelow(view, key.Name)
			continue
		}
		found = true
		if key.Class != classIN || key.Type != typeA && key.Type != typeAAAA {
			continue // a machine has no such records
		}
		more, err := addressRecords(ctx, m, key)
		if err != nil {
			return nil, err
		}
		answers = append(answers, more...)
	}
	switch {
	case found:
		return resolved{codeSuccess, &answers}, nil
	case below:
		return resolved{Code: codeNoSuchDomain}, nil
	}
	return nil, nil
}

func keyOf(in varlink.Object) resource {
	key := resource{Class: classIN, Type: uint16(in.Int("type")), Name: in.String("name")}
	if in.Has("class") {
		key.Class = uint16(in.Int("class"))
	}
	return key
}

// isBelow reports whether a machine has the name of a domain that name is in.
func isBelow(view *machine.View, name string) bool {
	for parent := range parents(name) {
		if m, ok := view.Get(parent); ok && ownsName(m) {
			return true
		}
	}
	return false
}

// addressRecords are the addresses of m of the key's family. The reference
// fails where there can be none.
func addressRecords(ctx context.Context, m machine.Machine, key resource) ([]resolveAnswer, error) {
	if m.Class != machine1.ClassContainer {
		return nil, fmt.Errorf("a VM's addresses are not known: %w", unix.EOPNOTSUPP)
	}
	leader, err := enter(m)
	if err != nil {
		return nil, err
	}
	addresses, err := netns.LinkAddresses(ctx, leader, m.Name)
	if errors.Is(err, machine1.ErrNoPrivateNetworking) {
		return nil, fmt.Errorf("cannot tell addresses of %s from the host's: %w", m.Name, unix.ENONET)
	}
	if err != nil {
		return nil, err
	}
	var answers []resolveAnswer
	seen := map[netip.Addr]bool{}
	for _, a := range addresses {
		if a.Addr.Is4() != (key.Type == typeA) || seen[a.Addr] {
			continue
		}
		seen[a.Addr] = true
		raw, ok := encodeAddress(key.Name, a.Addr)
		if !ok {
			continue
		}
		answers = append(answers, resolveAnswer{
			Record: addressResource{key, numbers(a.Addr)},
			Raw:    base64.StdEncoding.EncodeToString(raw),
		})
	}
	return answers, nil
}
