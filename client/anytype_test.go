package client_test

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

var basicTypes = map[byte]reflect.Type{
	'y': reflect.TypeFor[byte](), 'b': reflect.TypeFor[bool](), 'n': reflect.TypeFor[int16](), 'q': reflect.TypeFor[uint16](),
	'i': reflect.TypeFor[int32](), 'u': reflect.TypeFor[uint32](), 'x': reflect.TypeFor[int64](), 't': reflect.TypeFor[uint64](),
	'd': reflect.TypeFor[float64](), 's': reflect.TypeFor[string](), 'o': reflect.TypeFor[dbus.ObjectPath](),
	'g': reflect.TypeFor[dbus.Signature](), 'h': reflect.TypeFor[dbus.UnixFD](), 'v': reflect.TypeFor[dbus.Variant](),
}

// cutType returns the Go type of the first complete type of a signature, and
// what is behind that.
func cutType(signature string) (reflect.Type, string) {
	switch signature[0] {
	case 'a':
		if signature[1] == '{' {
			key, rest := cutType(signature[2:])
			value, rest := cutType(rest)
			return reflect.MapOf(key, value), rest[1:]
		}
		element, rest := cutType(signature[1:])
		return reflect.SliceOf(element), rest
	case '(':
		var fields []reflect.StructField
		rest := signature[1:]
		for rest[0] != ')' {
			var field reflect.Type
			field, rest = cutType(rest)
			fields = append(fields, reflect.StructField{Name: fmt.Sprintf("F%d", len(fields)), Type: field})
		}
		return reflect.StructOf(fields), rest[1:]
	}
	return basicTypes[signature[0]], signature[1:]
}

// typesOf returns values of the types of a signature.
func typesOf(t *testing.T, signature string) (values []reflect.Value) {
	t.Helper()
	for signature != "" {
		var kind reflect.Type
		kind, signature = cutType(signature)
		v := reflect.New(kind).Elem()
		if kind == basicTypes['o'] {
			v.SetString("/")
		}
		values = append(values, v)
	}
	return values
}

// someValue returns a value of a type that is not its zero.
func someValue(t *testing.T, signature string) any {
	t.Helper()
	kind, _ := cutType(signature)
	v := reflect.New(kind).Elem()
	switch kind.Kind() {
	case reflect.String:
		v.SetString("some")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32:
		v.SetInt(7)
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Slice:
		v = reflect.Append(v, reflect.ValueOf(someValue(t, signature[1:])))
	default:
		t.Fatalf("no value of the type %s", signature)
	}
	return v.Interface()
}

// closeFDs closes the descriptors that came with a call.
func closeFDs(args []any) {
	for _, arg := range args {
		switch arg := arg.(type) {
		case dbus.UnixFD:
			unix.Close(int(arg))
		case dbus.Variant:
			closeFDs([]any{arg.Value()})
		case map[string]dbus.Variant:
			for _, option := range arg {
				closeFDs([]any{option})
			}
		case []any:
			closeFDs(arg)
		case [][]any:
			for _, row := range arg {
				closeFDs(row)
			}
		}
	}
}
