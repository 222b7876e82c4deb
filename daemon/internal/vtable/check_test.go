package vtable_test

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/vtable"
)

func TestGoodTablesPass(t *testing.T) {
	t.Parallel()
	if err := worldInterface.Check(reflect.TypeFor[*world]()); err != nil {
		t.Error(err)
	}
	if err := thingInterface.Check(reflect.TypeFor[thing]()); err != nil {
		t.Error(err)
	}
}

// These are functions as rows need them, for a target of type int.
func good(context.Context, *vtable.Call, int) error                             { return nil }
func getter(context.Context, int) (string, error)                               { return "", nil }
func takesText(context.Context, *vtable.Call, int, string) (int32, bool, error) { return 0, false, nil }

func TestBadRowsAreRefused(t *testing.T) {
	t.Parallel()
	methods := map[string]vtable.Method{
		"no function":             {Name: "M"},
		"a value":                 {Name: "M", Func: 1},
		"no context":              {Name: "M", Func: func(*vtable.Call, int) error { return nil }},
		"no call":                 {Name: "M", Func: getter},
		"another target":          {Name: "M", Func: func(context.Context, *vtable.Call, string) error { return nil }},
		"no error":                {Name: "M", Func: func(context.Context, *vtable.Call, int) {}},
		"variadic":                {Name: "M", In: "a", Func: func(context.Context, *vtable.Call, int, ...string) error { return nil }},
		"a type that has no size": {Name: "M", In: "a", Func: func(context.Context, *vtable.Call, int, int) error { return nil }},
		"an any":                  {Name: "M", Out: "a", Func: func(context.Context, *vtable.Call, int) (any, error) { return nil, nil }},
		"too few argument names":  {Name: "M", Out: "a b", Func: takesText},
		"too many argument names": {Name: "M", In: "a b", Out: "c d", Func: takesText},
		"too few result names":    {Name: "M", In: "a", Out: "c", Func: takesText},
		"a handler of another target": {Name: "M", In: "a", Out: "b", Func: vtable.Handler(
			func(context.Context, *vtable.Call, string, string) (string, error) { return "", nil })},
		"a handler of a type that is none": {Name: "M", In: "a", Out: "b", Func: vtable.Handler(
			func(context.Context, *vtable.Call, int, int) (string, error) { return "", nil })},
		"a handler with a result that is none": {Name: "M", In: "a", Out: "b", Func: vtable.Handler(
			func(context.Context, *vtable.Call, int, string) (int, error) { return 0, nil })},
		"no name":                     {Func: good},
		"a name that is not a member": {Name: "a.b", Func: good},
	}
	for name, row := range methods {
		i := vtable.Interface{Name: "a.b", Methods: []vtable.Method{row}}
		if err := i.Check(reflect.TypeFor[int]()); err == nil || !strings.Contains(err.Error(), "a.b") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	properties := map[string]vtable.Property{
		"no getter":                            {Name: "P"},
		"a getter that takes a call":           {Name: "P", Get: good},
		"a getter that gives two":              {Name: "P", Get: func(context.Context, int) (string, string, error) { return "", "", nil }},
		"a setter of another type":             {Name: "P", Get: getter, Set: func(context.Context, int, uint32) error { return nil }},
		"a setter that returns something":      {Name: "P", Get: getter, Set: func(context.Context, int, string) (int32, error) { return 0, nil }},
		"a fast getter of another target":      {Name: "P", Get: vtable.Getter(func(context.Context, string) (string, error) { return "", nil })},
		"a fast getter of a type that is none": {Name: "P", Get: vtable.Getter(func(context.Context, int) (int, error) { return 0, nil })},
		"a type that is none":                  {Name: "P", Get: func(context.Context, int) (error, error) { return nil, nil }},
	}
	for name, row := range properties {
		i := vtable.Interface{Name: "a.b", Properties: []vtable.Property{row}}
		if err := i.Check(reflect.TypeFor[int]()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	interfaces := map[string]*vtable.Interface{
		"no name":             {},
		"a name without dots": {Name: "a"},
		"two methods":         {Name: "a.b", Methods: []vtable.Method{{Name: "M", Func: good}, {Name: "M", Func: good}}},
		"two properties":      {Name: "a.b", Properties: []vtable.Property{{Name: "P", Get: getter}, {Name: "P", Get: getter}}},
		"a signal of no type": {Name: "a.b", Signals: []vtable.Signal{{Name: "S", Args: "a", Types: "!"}}},
		"a signal's names":    {Name: "a.b", Signals: []vtable.Signal{{Name: "S", Args: "a b", Types: "s"}}},
	}
	for name, i := range interfaces {
		if err := i.Check(reflect.TypeFor[int]()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A table that cannot be served to its target is our mistake; callers are
// told, and it is logged.
func TestAWrongTargetIsAnError(t *testing.T) {
	t.Parallel()
	s := serve(t)
	p := s.peer(t)
	h := method("Name")
	h.Path, h.Interface = wrongPath, thingName
	if m := p.call(h, nil); m.ErrorName != errorNS+"Failed" {
		t.Errorf("got %q", m.ErrorName)
	}
	if !strings.Contains(s.log.String(), "an object cannot be served") {
		t.Errorf("the log is %s", s.log)
	}
}

const wrongPath = dbus.ObjectPath(rootPath + "/wrong")
