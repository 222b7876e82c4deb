package wire

import (
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"
)

// A Codec writes and reads values of one Go type as one D-Bus type. Nothing
// is converted: int32 is i and nothing else.
type Codec struct {
	signature string
	size      int  // of the Go value, in bytes, without what it points to
	mayHaveFD bool // some value has a descriptor
	encode    func(*Encoder, reflect.Value)
	decode    func(*Decoder, reflect.Value)
}

// Signature returns the D-Bus type.
func (c *Codec) Signature() string { return c.signature }

// Encode writes v, which is of the codec's type.
func (c *Codec) Encode(e *Encoder, v reflect.Value) { c.encode(e, v) }

// Decode reads a value into v, which is of the codec's type and can be set.
func (c *Codec) Decode(d *Decoder, v reflect.Value) { c.decode(d, v) }

// codecs holds the *Codec of every type that was asked for.
var codecs sync.Map

// CodecOf returns the codec of t. Structs have exported fields only, integers
// have a size, an any is not a variant: dbus.Variant is.
func CodecOf(t reflect.Type) (*Codec, error) {
	if c, ok := codecs.Load(t); ok {
		return c.(*Codec), nil
	}
	c, err := compile(t, 0)
	if err != nil {
		return nil, err
	}
	if len(c.signature) > maxSignature {
		return nil, fmt.Errorf("the signature of %v is too long", t)
	}
	codecs.Store(t, c)
	return c, nil
}

var (
	variantType    = reflect.TypeFor[dbus.Variant]()
	signatureType  = reflect.TypeFor[dbus.Signature]()
	objectPathType = reflect.TypeFor[dbus.ObjectPath]()
	unixFDType     = reflect.TypeFor[dbus.UnixFD]()
)

func compile(t reflect.Type, depth int) (*Codec, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%v is nested too deep", t)
	}
	if c, ok := basicCodec(t); ok {
		c.size = int(t.Size())
		c.mayHaveFD = strings.ContainsAny(c.signature, "hv")
		return &c, nil
	}
	if t.Implements(encodedInterface) {
		return preencodedCodec(t)
	}
	var c *Codec
	var err error
	switch t.Kind() {
	case reflect.Slice:
		c, err = sliceCodec(t, depth)
	case reflect.Map:
		c, err = mapCodec(t, depth)
	case reflect.Struct:
		c, err = structCodec(t, depth)
	default:
		err = fmt.Errorf("%v has no D-Bus type", t)
	}
	if err != nil {
		return nil, err
	}
	c.size = int(t.Size())
	return c, nil
}

// basicCodec returns the codec of a type that has no others inside.
func basicCodec(t reflect.Type) (Codec, bool) {
	switch t {
	case variantType:
		return Codec{signature: "v", encode: encodeVariant, decode: decodeVariant}, true
	case signatureType:
		return Codec{signature: "g", encode: encodeSignature, decode: decodeSignature}, true
	case objectPathType:
		return Codec{
			signature: "o",
			encode:    func(e *Encoder, v reflect.Value) { e.ObjectPath(dbus.ObjectPath(v.String())) },
			decode:    func(d *Decoder, v reflect.Value) { v.SetString(string(d.ObjectPath())) },
		}, true
	case unixFDType:
		return Codec{
			signature: "h",
			encode:    func(e *Encoder, v reflect.Value) { e.UnixFD(dbus.UnixFD(v.Int())) },
			decode:    func(d *Decoder, v reflect.Value) { v.SetInt(int64(d.UnixFD())) },
		}, true
	}
	c, ok := kindCodecs[t.Kind()]
	return c, ok
}

var kindCodecs = map[reflect.Kind]Codec{
	reflect.Uint8: {
		signature: "y",
		encode:    func(e *Encoder, v reflect.Value) { e.Byte(byte(v.Uint())) },
		decode:    func(d *Decoder, v reflect.Value) { v.SetUint(uint64(d.Byte())) },
	},
	reflect.Bool: {
		signature: "b",
		encode:    func(e *Encoder, v reflect.Value) { e.Bool(v.Bool()) },
		decode:    func(d *Decoder, v reflect.Value) { v.SetBool(d.Bool()) },
	},
	reflect.Int16: {
		signature: "n",
		encode:    func(e *Encoder, v reflect.Value) { e.Uint16(uint16(v.Int())) },
		decode:    func(d *Decoder, v reflect.Value) { v.SetInt(int64(int16(d.Uint16()))) },
	},
	reflect.Uint16: {
		signature: "q",
		encode:    func(e *Encoder, v reflect.Value) { e.Uint16(uint16(v.Uint())) },
		decode:    func(d *Decoder, v reflect.Value) { v.SetUint(uint64(d.Uint16())) },
	},
	reflect.Int32: {
		signature: "i",
		encode:    func(e *Encoder, v reflect.Value) { e.Uint32(uint32(v.Int())) },
		decode:    func(d *Decoder, v reflect.Value) { v.SetInt(int64(int32(d.Uint32()))) },
	},
	reflect.Uint32: {
		signature: "u",
		encode:    func(e *Encoder, v reflect.Value) { e.Uint32(uint32(v.Uint())) },
		decode:    func(d *Decoder, v reflect.Value) { v.SetUint(uint64(d.Uint32())) },
	},
	reflect.Int64: {
		signature: "x",
		encode:    func(e *Encoder, v reflect.Value) { e.Uint64(uint64(v.Int())) },
		decode:    func(d *Decoder, v reflect.Value) { v.SetInt(int64(d.Uint64())) },
	},
	reflect.Uint64: {
		signature: "t",
		encode:    func(e *Encoder, v reflect.Value) { e.Uint64(v.Uint()) },
		decode:    func(d *Decoder, v reflect.Value) { v.SetUint(d.Uint64()) },
	},
	reflect.Float64: {
		signature: "d",
		encode:    func(e *Encoder, v reflect.Value) { e.Float64(v.Float()) },
		decode:    func(d *Decoder, v reflect.Value) { v.SetFloat(d.Float64()) },
	},
	reflect.String: {
		signature: "s",
		encode:    func(e *Encoder, v reflect.Value) { e.Text(v.String()) },
		decode:    func(d *Decoder, v reflect.Value) { v.SetString(d.Text()) },
	},
}

func encodeSignature(e *Encoder, v reflect.Value) {
	e.Signature(v.Interface().(dbus.Signature).String())
}

func decodeSignature(d *Decoder, v reflect.Value) {
	sig, err := dbus.ParseSignature(d.Signature())
	if err != nil {
		d.malformed("invalid signature")
	}
	v.Set(reflect.ValueOf(sig))
}
