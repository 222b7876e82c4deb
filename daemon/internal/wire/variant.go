package wire

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"
)

func encodeVariant(e *Encoder, v reflect.Value) {
	variant := v.Interface().(dbus.Variant)
	value := reflect.ValueOf(variant.Value())
	if !value.IsValid() {
		e.fail(errors.New("a variant is empty"))
		return
	}
	c, err := CodecOf(value.Type())
	if err != nil {
		e.fail(err)
		return
	}
	if sig := variant.Signature().String(); sig != c.signature {
		e.fail(fmt.Errorf("a variant of type %q holds a value of type %q", sig, c.signature))
	}
	e.Signature(c.signature)
	c.encode(e, value)
}

// decodeVariant makes a variant whose value is what godbus marshals to the
// same bytes again: a Go struct for a struct, never a []any.
func decodeVariant(d *Decoder, v reflect.Value) {
	sig := d.variantSignature()
	if d.err != nil || !d.enter() {
		return
	}
	defer d.leave()

	shape, err := shapeOf(sig)
	if err != nil {
		d.fail(err)
		return
	}
	if !d.alloc(shape.codec.size) {
		return
	}
	value := reflect.New(shape.goType).Elem()
	shape.codec.decode(d, value)
	if d.err == nil {
		*v.Addr().Interface().(*dbus.Variant) = dbus.MakeVariantWithSignature(value.Interface(), shape.signature)
	}
}

// variantSignature reads the signature of a variant. It is valid until the
// next message.
func (d *Decoder) variantSignature() []byte {
	n := int(d.Byte())
	b := d.take(1, n+1)
	if b == nil {
		return nil
	}
	return b[:n]
}

// A shape is how values of one D-Bus type are held.
type shape struct {
	goType    reflect.Type
	codec     *Codec
	signature dbus.Signature
}

// Go never frees a type that was made at run time, so what a peer can make us
// make is bounded: the types of known unit properties, and this many others.
const (
	maxShapes         = 128
	maxShapeSignature = 64
)

// knownShapes are the types of the properties that PID 1 takes for a unit.
//
// Reference: bus-unit-util.c.
var knownShapes = []string{
	"y", "b", "n", "q", "i", "u", "x", "t", "d", "s", "o", "g", "h", "v",
	"ay", "ab", "ai", "au", "at", "as", "ao", "ah", "av", "aas", "a{ss}", "a{sv}",
	"(ss)", "(st)", "(bas)", "(say)", "(uo)",
	"a(ss)", "a(st)", "a(sb)", "a(sv)", "a(say)", "a(sh)", "a(ssb)", "a(sbs)", "a(sst)",
	"a(iayu)", "a(iiqq)", "a(iiss)", "a(iiqqs)", "a(ayay)",
	"a(sasb)", "a(sasas)", "a(ssbt)", "a(ssba(ss))", "a(ssa(ss))",
}

var shapes struct {
	mu    sync.RWMutex
	table map[string]*shape
	made  int // for types that are not known
}

func shapeOf(sig []byte) (*shape, error) {
	shapes.mu.RLock()
	s := shapes.table[string(sig)]
	shapes.mu.RUnlock()
	if s != nil {
		return s, nil
	}
	return addShape(string(sig))
}

func addShape(sig string) (*shape, error) {
	parsed, err := checkShape(sig)
	if err != nil {
		return nil, err
	}
	shapes.mu.Lock()
	defer shapes.mu.Unlock()
	if s := shapes.table[sig]; s != nil {
		return s, nil
	}
	if !slices.Contains(knownShapes, sig) {
		if shapes.made >= maxShapes {
			return nil, fmt.Errorf("%w: a variant of the unusual type %q", ErrLimit, sig)
		}
		shapes.made++
	}
	goType, _ := goTypeOf(sig, 0)
	codec, err := CodecOf(goType)
	if err != nil {
		return nil, err
	}
	if shapes.table == nil {
		shapes.table = make(map[string]*shape)
	}
	s := &shape{goType, codec, parsed}
	shapes.table[sig] = s
	return s, nil
}

// checkShape refuses what could not be held or passed on, before any type is
// made for it. godbus cannot send dictionaries whose keys are signatures or
// booleans, and no property of a unit has one.
func checkShape(sig string) (dbus.Signature, error) {
	switch {
	case !validSingle(sig):
		return dbus.Signature{}, fmt.Errorf("%w: %q is no type", errMalformed, sig)
	case len(sig) > maxShapeSignature, strings.Contains(sig, "{g"), strings.Contains(sig, "{b"):
		return dbus.Signature{}, fmt.Errorf("%w: a variant of the unusual type %q", ErrLimit, sig)
	}
	parsed, err := dbus.ParseSignature(sig)
	if err != nil {
		return dbus.Signature{}, fmt.Errorf("%w: %w", ErrLimit, err)
	}
	return parsed, nil
}

var basicGoTypes = map[byte]reflect.Type{
	'y': reflect.TypeFor[byte](),
	'b': reflect.TypeFor[bool](),
	'n': reflect.TypeFor[int16](),
	'q': reflect.TypeFor[uint16](),
	'i': reflect.TypeFor[int32](),
	'u': reflect.TypeFor[uint32](),
	'x': reflect.TypeFor[int64](),
	't': reflect.TypeFor[uint64](),
	'd': reflect.TypeFor[float64](),
	's': reflect.TypeFor[string](),
	'o': objectPathType,
	'g': signatureType,
	'h': unixFDType,
	'v': variantType,
}

// goTypeOf returns the Go type of the valid D-Bus type that begins at sig[i],
// and where that one ends.
func goTypeOf(sig string, i int) (reflect.Type, int) {
	switch c := sig[i]; {
	case c == 'a' && sig[i+1] == '{':
		elem, end := goTypeOf(sig, i+3)
		return reflect.MapOf(basicGoTypes[sig[i+2]], elem), end + 1
	case c == 'a':
		elem, end := goTypeOf(sig, i+1)
		return reflect.SliceOf(elem), end
	case c == '(':
		return structTypeOf(sig, i+1)
	default:
		return basicGoTypes[c], i + 1
	}
}

func structTypeOf(sig string, i int) (reflect.Type, int) {
	var fields []reflect.StructField
	for sig[i] != ')' {
		field, end := goTypeOf(sig, i)
		fields = append(fields, reflect.StructField{Name: fmt.Sprintf("F%d", len(fields)), Type: field})
		i = end
	}
	return reflect.StructOf(fields), i + 1
}
