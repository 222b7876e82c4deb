package varlink

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
)

// A Type is the shape of one value.
type Type struct {
	kind   kind
	name   string                     // of an enum or a structure
	values []string                   // of an enum
	fields Fields                     // of a structure
	elem   *Type                      // of an array
	parse  func(string) (int64, bool) // of an integer that has names
	exact  bool                       // of an integer that must come as one
}

type kind int

const (
	kindString kind = iota
	kindInt
	kindUint
	kindBool
	kindEnum
	kindStruct
	kindArray
	kindObject
)

// The plain types. An Int or Uint may also arrive as a decimal string, and as a
// float without a fraction: clients in languages without 64-bit integers send
// these. An ExactInt must arrive as an integer. A Uint may be beyond what an
// int64 holds. An AnyObject is an object that says itself what is in it; none
// is taken as input.
var (
	String    = &Type{kind: kindString}
	Int       = &Type{kind: kindInt}
	ExactInt  = &Type{kind: kindInt, exact: true}
	Uint      = &Type{kind: kindUint}
	Bool      = &Type{kind: kindBool}
	AnyObject = &Type{kind: kindObject}
)

// Array is a list of elem.
func Array(elem *Type) *Type { return &Type{kind: kindArray, elem: elem} }

// Enum is a string out of a fixed set.
func Enum(name string, values ...string) *Type {
	return &Type{kind: kindEnum, name: name, values: values}
}

// Struct is an object with the given fields, and no others.
func Struct(name string, fields ...Field) *Type {
	return &Type{kind: kindStruct, name: name, fields: fields}
}

// NamedInt is an Int whose string form may also be a name that parse knows.
func NamedInt(parse func(string) (int64, bool)) *Type { return &Type{kind: kindInt, parse: parse} }

// A Field is one member of an object.
type Field struct {
	Name string
	Doc  string // one line for people who introspect
	Type *Type
	// Nullable fields may be left out. A null is refused all the same, as the
	// reference does for most, whatever its description of the interface says.
	Nullable bool
	// NullIsAbsent fields may be null, which is as if they were left out.
	NullIsAbsent bool
	// Required fields must be there, if only as a null, although the description
	// says Nullable.
	Required bool
	// Ignored fields are accepted if they are as described, and then forgotten.
	Ignored bool
	// Refused fields are in the description only: whoever gives one is told
	// that it is invalid.
	Refused bool
	// Valid checks what the type cannot say: v is a string, int64, uint64,
	// bool, []any or Object. nil accepts all.
	Valid func(v any) bool
}

// Fields are the members of an object, in the order of its description.
type Fields []Field

// An Object is input that has passed its Fields' check. A field that was left
// out has its type's zero value.
type Object struct{ values map[string]any }

// Has reports whether the caller gave the field.
func (o Object) Has(name string) bool { _, ok := o.values[name]; return ok }

// String returns a string or enum field.
func (o Object) String(name string) string { return field[string](o, name) }

// Int returns an integer field.
func (o Object) Int(name string) int64 { return field[int64](o, name) }

// Uint returns an integer field of type Uint.
func (o Object) Uint(name string) uint64 { return field[uint64](o, name) }

// Bool returns a boolean field.
func (o Object) Bool(name string) bool { return field[bool](o, name) }

// Object returns a structure field.
func (o Object) Object(name string) Object { return field[Object](o, name) }

// Array returns the elements of an array field.
func (o Object) Array(name string) []any { return field[[]any](o, name) }

// Strings returns the elements of an array of strings.
func (o Object) Strings(name string) []string {
	var list []string
	for _, e := range o.Array(name) {
		list = append(list, e.(string))
	}
	return list
}

// field panics if the handler and its row disagree about the type.
func field[V any](o Object, name string) V {
	var zero V
	v, ok := o.values[name]
	if !ok {
		return zero
	}
	return v.(V)
}

// check matches in with f. The order of the three steps decides which field a
// caller with several mistakes hears of.
//
// Reference: sd-varlink-idl.c, varlink_idl_validate_method_call, and then the
// method's own dispatch table.
func (f Fields) check(in members) (Object, error) {
	out := Object{make(map[string]any, len(in))}
	for _, field := range f {
		v, err := field.take(in)
		if err != nil {
			return Object{}, err
		}
		if v != nil {
			out.values[field.Name] = v
		}
	}
	for _, m := range in {
		if !slices.ContainsFunc(f, func(f Field) bool { return f.Name == m.name }) {
			return Object{}, InvalidParameter(m.name)
		}
	}
	for _, m := range in {
		i := slices.IndexFunc(f, func(f Field) bool { return f.Name == m.name })
		if v, ok := out.values[m.name]; ok && f[i].Valid != nil && !f[i].Valid(v) {
			return Object{}, InvalidParameter(m.name)
		}
	}
	return out, nil
}

// take returns the field's converted value, nil if there is none to keep.
func (f Field) take(in members) (any, error) {
	given := -1
	for i, m := range in {
		if m.name != f.Name {
			continue
		}
		if given >= 0 {
			return nil, InvalidParameter(f.Name) // twice
		}
		given = i
	}
	switch {
	case f.Refused && given >= 0:
		return nil, InvalidParameter(f.Name)
	case f.Ignored && given >= 0 && !f.describes(in[given].value):
		return nil, InvalidParameter(f.Name)
	case f.Ignored, f.Refused:
		return nil, nil
	case given < 0 && f.Nullable && !f.Required:
		return nil, nil
	case given < 0:
		return nil, InvalidParameter(f.Name)
	case f.NullIsAbsent && in[given].value == nil:
		return nil, nil
	}
	v, ok := f.Type.convert(in[given].value)
	if !ok {
		return nil, InvalidParameter(f.Name)
	}
	return v, nil
}

// describes reports whether v is as the description of the interface says.
//
// Reference: sd-varlink-idl.c, varlink_idl_validate_field.
func (f Field) describes(v any) bool {
	if v == nil {
		return f.Nullable
	}
	return f.Type.describes(v)
}

func (t *Type) describes(v any) bool {
	switch t.kind {
	case kindInt, kindUint:
		if _, isString := v.(string); isString {
			return true
		}
	case kindStruct:
		return t.fields.describe(v)
	}
	_, ok := t.convert(v)
	return ok
}

func (f Fields) describe(v any) bool {
	in, ok := v.(members)
	if !ok {
		return false
	}
	given := map[string]bool{}
	for _, m := range in {
		i := slices.IndexFunc(f, func(f Field) bool { return f.Name == m.name })
		if i < 0 || !f[i].describes(m.value) {
			return false
		}
		given[m.name] = true
	}
	return !slices.ContainsFunc(f, func(f Field) bool { return !f.Nullable && !given[f.Name] })
}

// convert returns v as the handler gets it; ok is false if v is not a t.
func (t *Type) convert(v any) (converted any, ok bool) {
	switch t.kind {
	case kindString:
		s, ok := v.(string)
		return s, ok
	case kindEnum:
		s, ok := v.(string)
		return s, ok && slices.Contains(t.values, s)
	case kindBool:
		b, ok := v.(bool)
		return b, ok
	case kindInt:
		return t.convertInt(v)
	case kindUint:
		return convertUint(v)
	case kindStruct:
		in, ok := v.(members)
		if !ok {
			return nil, false
		}
		o, err := t.fields.check(in)
		return o, err == nil
	case kindArray:
		return t.convertArray(v)
	}
	return nil, false
}

func (t *Type) convertInt(v any) (int64, bool) {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n, true
		}
		f, err := v.Float64()
		return int64(f), err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53
	case string:
		if t.exact {
			return 0, false
		}
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return n, true
		}
		if t.parse != nil {
			return t.parse(v)
		}
	}
	return 0, false
}

func convertUint(v any) (uint64, bool) {
	switch v := v.(type) {
	case json.Number:
		if n, err := strconv.ParseUint(v.String(), 10, 64); err == nil {
			return n, true
		}
		f, err := v.Float64()
		return uint64(max(f, 0)), err == nil && f == math.Trunc(f) && 0 <= f && f < 1<<53
	case string:
		n, err := strconv.ParseUint(v, 10, 64)
		return n, err == nil
	}
	return 0, false
}

func (t *Type) convertArray(v any) ([]any, bool) {
	in, ok := v.([]any)
	if !ok {
		return nil, false
	}
	out := make([]any, 0, len(in))
	for _, e := range in {
		// The reference takes decimal strings for fields only.
		if _, isString := e.(string); isString && t.elem.kind == kindInt {
			return nil, false
		}
		c, ok := t.elem.convert(e)
		if !ok {
			return nil, false
		}
		out = append(out, c)
	}
	return out, true
}
