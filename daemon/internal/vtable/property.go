package vtable

import (
	"context"
	"fmt"
	"reflect"

	"github.com/machd/machd/daemon/internal/wire"
)

// A property is a row prepared for being read and written.
type property struct {
	iface, name string
	emits       Emits
	hidden      bool
	privileged  bool
	codec       *wire.Codec
	value       reflect.Type
	get         reflect.Value
	fast        fastGetter    // instead of get, or nil
	set         reflect.Value // invalid if the property is read-only
	// entry is how GetAll's entry begins: the name, and the type of the value.
	entry []byte
}

// Getter returns get as a Property.Get that is called without reflection,
// which makes GetAll three times as fast.
func Getter[T, V any](get func(ctx context.Context, target T) (V, error)) any {
	return typedGetter[T, V](get)
}

// A fastGetter is what Getter returns.
type fastGetter interface {
	types() (target, value reflect.Type)
	write(ctx context.Context, target any, c *wire.Codec, e *wire.Encoder) error
}

type typedGetter[T, V any] func(context.Context, T) (V, error)

func (g typedGetter[T, V]) types() (target, value reflect.Type) {
	return reflect.TypeFor[T](), reflect.TypeFor[V]()
}

// write writes the value that g returns.
func (g typedGetter[T, V]) write(ctx context.Context, target any, c *wire.Codec, e *wire.Encoder) error {
	v, err := g(ctx, target.(T))
	if err != nil {
		return err
	}
	writeValue(c, e, v)
	return nil
}

func newProperty(iface string, row Property, target reflect.Type) (*property, error) {
	p := &property{iface: iface, name: row.Name, emits: row.Emits, hidden: row.Hidden, privileged: row.Privileged}
	if err := p.prepareGet(row.Get, target); err != nil {
		return nil, err
	}
	codec, err := wire.CodecOf(p.value)
	if err != nil {
		return nil, err
	}
	p.codec = codec
	p.entry = encodeEntry(p.name, codec.Signature())
	if row.Set == nil {
		return p, nil
	}
	p.set, err = funcOf(row.Set, contextType, target, p.value)
	if err == nil && (p.set.Type().NumIn() != 3 || p.set.Type().NumOut() != 1) {
		err = fmt.Errorf("%v is no setter", p.set.Type())
	}
	return p, err
}

func encodeEntry(name, signature string) []byte {
	var e wire.Encoder
	e.Text(name)
	e.Signature(signature)
	return e.Bytes()
}

func (p *property) prepareGet(get any, target reflect.Type) (err error) {
	if fast, ok := get.(fastGetter); ok {
		p.fast = fast
		want, value := fast.types()
		p.value = value
		if want != target {
			err = fmt.Errorf("the getter is for a %v and not for a %v", want, target)
		}
		return err
	}
	if p.get, err = funcOf(get, contextType, target); err != nil {
		return err
	}
	t := p.get.Type()
	if t.NumIn() != 2 || t.NumOut() != 2 {
		return fmt.Errorf("%v is no getter", t)
	}
	p.value = t.Out(0)
	return nil
}

// read writes p's value as a variant.
func (p *property) read(x *exchange, of bound) error {
	x.encoder.Signature(p.codec.Signature())
	return p.readValue(x, of)
}

// readEntry writes p's name and value as an entry of a dictionary.
func (p *property) readEntry(x *exchange, of bound) error {
	x.encoder.Struct()
	x.encoder.Raw(p.entry)
	return p.readValue(x, of)
}

func (p *property) readValue(x *exchange, of bound) error {
	if p.fast != nil {
		return p.fast.write(x.ctx, of.object, p.codec, &x.encoder)
	}
	x.args = append(x.args[:0], x.ctxValue, of.target)
	results := p.get.Call(x.args)
	if err := results[1]; !err.IsNil() {
		return err.Interface().(error)
	}
	p.codec.Encode(&x.encoder, results[0])
	return nil
}

// write reads a variant and sets p to its value.
func (p *property) write(x *exchange, target reflect.Value) error {
	got := x.decoder.Signature()
	if err := x.decoder.Err(); err != nil {
		return badArguments(err)
	}
	if want := p.codec.Signature(); got != want {
		return errPropertyType(p.name, got, want)
	}
	value := reflect.New(p.value).Elem()
	p.codec.Decode(&x.decoder, value)
	if err := x.decoder.Close(); err != nil {
		return badArguments(err)
	}
	result := p.set.Call([]reflect.Value{x.ctxValue, target, value})[0]
	if result.IsNil() {
		return nil
	}
	return result.Interface().(error)
}
