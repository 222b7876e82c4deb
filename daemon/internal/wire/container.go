package wire

import (
	"bytes"
	"cmp"
	"fmt"
	"reflect"
	"slices"
)

func sliceCodec(t reflect.Type, depth int) (*Codec, error) {
	elem, err := compile(t.Elem(), depth+1)
	if err != nil {
		return nil, err
	}
	c := &Codec{signature: "a" + elem.signature, mayHaveFD: elem.mayHaveFD}
	if elem.signature == "y" {
		c.encode, c.decode = encodeBytes, decodeBytes
		return c, nil
	}
	c.encode = func(e *Encoder, v reflect.Value) { encodeSlice(elem, e, v) }
	c.decode = func(d *Decoder, v reflect.Value) { decodeSlice(elem, d, v) }
	return c, nil
}

func encodeSlice(elem *Codec, e *Encoder, v reflect.Value) {
	a := e.Array(elem.signature[0])
	for i := range v.Len() {
		if e.full() && !elem.mayHaveFD {
			break
		}
		elem.encode(e, v.Index(i))
	}
	e.EndArray(a)
}

func decodeSlice(elem *Codec, d *Decoder, v reflect.Value) {
	end := d.array(alignOf(elem.signature[0]))
	if !d.enter() {
		return
	}
	for n := 0; d.more(end); n++ {
		if n == v.Cap() {
			if !d.alloc(elem.size * (n + 4)) {
				return
			}
			v.Grow(n + 4)
		}
		v.SetLen(n + 1)
		elem.decode(d, v.Index(n))
	}
	d.leave()
}

func encodeBytes(e *Encoder, v reflect.Value) { e.ByteArray(v.Bytes()) }

// ByteArray writes an ay.
func (e *Encoder) ByteArray(b []byte) {
	a := e.Array('y')
	if len(b) <= MaxReply {
		e.buf = append(e.buf, b...)
	} else {
		e.fail(fmt.Errorf("%w: an array is longer than %d bytes", ErrLimit, MaxReply))
	}
	e.EndArray(a)
}

func decodeBytes(d *Decoder, v reflect.Value) {
	end := d.array(1)
	if b := d.take(1, end-d.pos); b != nil && d.alloc(len(b)) {
		v.SetBytes(bytes.Clone(b))
	}
}

func structCodec(t reflect.Type, depth int) (*Codec, error) {
	c := &Codec{}
	fields := make([]*Codec, t.NumField())
	for i := range fields {
		if !t.Field(i).IsExported() {
			return nil, fmt.Errorf("%v has a field that is not exported", t)
		}
		field, err := compile(t.Field(i).Type, depth+1)
		if err != nil {
			return nil, err
		}
		fields[i] = field
		c.signature += field.signature
		c.mayHaveFD = c.mayHaveFD || field.mayHaveFD
	}
	if len(fields) == 0 {
		return nil, fmt.Errorf("%v has no D-Bus type: it is empty", t)
	}
	c.signature = "(" + c.signature + ")"
	c.encode = func(e *Encoder, v reflect.Value) {
		e.Struct()
		for i, field := range fields {
			field.encode(e, v.Field(i))
		}
	}
	c.decode = func(d *Decoder, v reflect.Value) {
		d.take(8, 0)
		if !d.enter() {
			return
		}
		for i, field := range fields {
			field.decode(d, v.Field(i))
		}
		d.leave()
	}
	return c, nil
}

// entryOverhead is about what a map takes for an entry besides the key and
// the value, in bytes.
const entryOverhead = 32

func mapCodec(t reflect.Type, depth int) (*Codec, error) {
	key, err := compile(t.Key(), depth+1)
	if err != nil {
		return nil, err
	}
	elem, err := compile(t.Elem(), depth+1)
	if err != nil {
		return nil, err
	}
	if len(key.signature) != 1 || !isBasic(key.signature[0]) {
		return nil, fmt.Errorf("%v has no D-Bus type: its key is a container", t)
	}
	c := &Codec{
		signature: "a{" + key.signature + elem.signature + "}",
		mayHaveFD: key.mayHaveFD || elem.mayHaveFD,
	}
	c.encode = func(e *Encoder, v reflect.Value) { encodeMap(key, elem, e, v) }
	c.decode = func(d *Decoder, v reflect.Value) { decodeMap(key, elem, d, v) }
	return c, nil
}

func encodeMap(key, elem *Codec, e *Encoder, v reflect.Value) {
	a := e.Array('{')
	for _, k := range sortedKeys(v) {
		e.Struct()
		key.encode(e, k)
		elem.encode(e, v.MapIndex(k))
	}
	e.EndArray(a)
}

func decodeMap(key, elem *Codec, d *Decoder, v reflect.Value) {
	end := d.array(8)
	if !d.enter() {
		return
	}
	t := v.Type()
	v.Set(reflect.MakeMap(t))
	for d.more(end) && d.alloc(key.size+elem.size+entryOverhead) {
		k, val := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
		d.take(8, 0)
		key.decode(d, k)
		elem.decode(d, val)
		v.SetMapIndex(k, val)
	}
	d.leave()
}

// sortedKeys makes what is sent the same every time.
func sortedKeys(v reflect.Value) []reflect.Value {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int {
		switch {
		case a.Kind() == reflect.String:
			return cmp.Compare(a.String(), b.String())
		case a.CanInt():
			return cmp.Compare(a.Int(), b.Int())
		case a.CanUint():
			return cmp.Compare(a.Uint(), b.Uint())
		}
		return 0
	})
	return keys
}
