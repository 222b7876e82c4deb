package launch

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

// properties are those of a unit as PID 1 takes them for a new one.
type properties map[string]dbus.Variant

// inOrder returns the properties as they go out. PID 1 takes them one after
// another; of those that speak of the same thing, such as Delegate and
// DelegateControllers, or PrivateTmp and PrivateTmpEx, the longer name says more.
func (p properties) inOrder() []machine1.Property {
	var props []machine1.Property
	for _, name := range slices.Sorted(maps.Keys(p)) {
		props = append(props, machine1.Property{Name: name, Value: p[name]})
	}
	return props
}

func (p properties) set(name string, value any) { p[name] = dbus.MakeVariant(value) }

// add appends to a list of strings what is not in it.
func (p properties) add(name string, words ...string) {
	list := slices.Clone(p.strings(name))
	for _, word := range words {
		if !slices.Contains(list, word) {
			list = append(list, word)
		}
	}
	p.set(name, list)
}

func (p properties) strings(name string) []string {
	list, _ := p[name].Value().([]string)
	return list
}

func (p properties) text(name string) string {
	text, _ := p[name].Value().(string)
	return text
}

// settable returns what a unit has that another one, which there is not, has
// not: what its files say. Left are the names of those that PID 1 sets from a
// file only. What follows from other properties, or is the unit's state, is
// passed over.
func settable(unit, blank map[string]dbus.Variant) (p properties, left []string) {
	p = properties{}
	for _, name := range slices.Sorted(maps.Keys(unit)) {
		value := unit[name].Value()
		if isDerived[name] || reflect.DeepEqual(value, blank[name].Value()) {
			continue
		}
		converted, err := written(name, unit[name])
		if err != nil {
			left = append(left, name)
			continue
		}
		p[name] = converted
	}
	p.pairLimits(unit)
	p.simplify()
	return p, left
}

// pairLimits adds the hard limit to a soft one, which is both by itself.
func (p properties) pairLimits(unit map[string]dbus.Variant) {
	for name := range p {
		if hard, ok := strings.CutSuffix(name, "Soft"); ok && strings.HasPrefix(name, "Limit") {
			p[hard] = unit[hard]
		}
	}
}

// simplify takes away what the rest says as well.
func (p properties) simplify() {
	if _, some := p["DelegateControllers"]; some {
		delete(p, "Delegate") // for all controllers
	}
	stop, abort := p["TimeoutStopUSec"], p["TimeoutAbortUSec"]
	if reflect.DeepEqual(stop.Value(), abort.Value()) {
		delete(p, "TimeoutAbortUSec") // is the other one by itself
	}
}

// written returns the property as it is set, of a value as it was read.
func written(name string, value dbus.Variant) (dbus.Variant, error) {
	if isStream[name] && !slices.Contains(plainStreams, fmt.Sprint(value.Value())) {
		return dbus.Variant{}, fmt.Errorf("%s is of a file whose name nobody tells", name)
	}
	signature, structured := structures[name]
	switch {
	case structured:
	case isPlain[name]:
		signature = value.Signature().String()
	default:
		return dbus.Variant{}, fmt.Errorf("PID 1 takes no %s for a unit without a file", name)
	}
	converted, err := typed(signature, value.Value())
	if err != nil {
		return dbus.Variant{}, err
	}
	if isReversed[name] {
		reverse(converted)
	}
	return dbus.MakeVariant(converted), nil
}

// reverse turns a list around, which nobody else holds.
func reverse(list any) {
	swap := reflect.Swapper(list)
	n := reflect.ValueOf(list).Len()
	for i := range n / 2 {
		swap(i, n-1-i)
	}
}

// typed returns a value whose type is that of a D-Bus signature, made of one as
// it came over the bus, where each structure is a list. What a structure has
// beyond the signature is dropped.
func typed(signature string, value any) (any, error) {
	t, rest, err := goType(signature)
	if err != nil || rest != "" {
		return nil, fmt.Errorf("bad signature %q", signature)
	}
	to := reflect.New(t).Elem()
	if err := convert(to, reflect.ValueOf(value)); err != nil {
		return nil, err
	}
	return to.Interface(), nil
}

var basicTypes = map[byte]reflect.Type{
	'y': reflect.TypeFor[byte](), 'b': reflect.TypeFor[bool](), 's': reflect.TypeFor[string](),
	'q': reflect.TypeFor[uint16](), 'i': reflect.TypeFor[int32](), 'u': reflect.TypeFor[uint32](), 't': reflect.TypeFor[uint64](),
}

// goType returns the type of the first value of a signature, and the signature
// of the others.
func goType(signature string) (t reflect.Type, rest string, err error) {
	switch {
	case signature == execs:
		return reflect.TypeFor[[]command](), "", nil
	case signature == conditions:
		return reflect.TypeFor[[]condition](), "", nil
	case signature == "":
		return nil, "", fmt.Errorf("a signature ends early")
	case signature[0] == 'a':
		t, rest, err := goType(signature[1:])
		if err != nil {
			return nil, "", err
		}
		return reflect.SliceOf(t), rest, nil
	case signature[0] == '(':
		var fields []reflect.StructField
		for rest = signature[1:]; !strings.HasPrefix(rest, ")"); {
			if t, rest, err = goType(rest); err != nil {
				return nil, "", err
			}
			fields = append(fields, reflect.StructField{Name: fmt.Sprintf("F%d", len(fields)), Type: t})
		}
		return reflect.StructOf(fields), rest[1:], nil
	}
	t, ok := basicTypes[signature[0]]
	if !ok {
		return nil, "", fmt.Errorf("no type %q", signature[0])
	}
	return t, signature[1:], nil
}

// convert stores from, whose structures are lists of any, in to.
func convert(to, from reflect.Value) error {
	if from.IsValid() && from.Kind() == reflect.Interface {
		from = from.Elem()
	}
	switch {
	case !from.IsValid():
	case from.Type() == to.Type():
		to.Set(from)
		return nil
	case from.Kind() == reflect.Slice && to.Kind() == reflect.Slice:
		to.Set(reflect.MakeSlice(to.Type(), from.Len(), from.Len()))
		for i := range from.Len() {
			if err := convert(to.Index(i), from.Index(i)); err != nil {
				return err
			}
		}
		return nil
	case from.Kind() == reflect.Slice && to.Kind() == reflect.Struct && from.Len() >= to.NumField():
		for i := range to.NumField() {
			if err := convert(to.Field(i), from.Index(i)); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("cannot make a %s of %v", to.Type(), from)
}

// appended returns a list of structures with one element more. The list may be
// nil; the element is a structure, or a list of what is in it.
func appended(list any, signature string, element any) (any, error) {
	t, _, err := goType(signature)
	if err != nil {
		return nil, err
	}
	to := reflect.MakeSlice(t, 0, 1)
	if list != nil {
		to = reflect.ValueOf(list)
	}
	next := reflect.New(to.Type().Elem()).Elem()
	if err := convert(next, reflect.ValueOf(element)); err != nil {
		return nil, err
	}
	return reflect.Append(to, next).Interface(), nil
}

// merged returns a structure of lists, which may be nil, with more in each.
func merged(structure any, signature string, more any) (any, error) {
	value, err := typed(signature, more)
	if err != nil || structure == nil {
		return value, err
	}
	to := reflect.New(reflect.TypeOf(value)).Elem()
	for i := range to.NumField() {
		to.Field(i).Set(reflect.AppendSlice(reflect.ValueOf(structure).Field(i), reflect.ValueOf(value).Field(i)))
	}
	return to.Interface(), nil
}

func emptyOf(t reflect.Type) any {
	if t.Kind() == reflect.Slice {
		return reflect.MakeSlice(t, 0, 0).Interface()
	}
	return reflect.Zero(t).Interface()
}
