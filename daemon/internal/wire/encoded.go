package wire

import (
	"errors"
	"reflect"
)

// An Encoded is a value of type T that has been encoded already, for a result
// that is asked for more often than it changes. Its D-Bus type is T's.
type Encoded[T any] struct{ body []byte }

// Encode encodes v. It refuses types that may hold descriptors, which can be
// sent only once.
func Encode[T any](v T) (Encoded[T], error) {
	c, err := encodedCodec(reflect.TypeFor[T]())
	if err != nil {
		return Encoded[T]{}, err
	}
	var e Encoder
	c.Encode(&e, reflect.ValueOf(&v).Elem())
	return Encoded[T]{e.Bytes()}, e.Err()
}

func (v Encoded[T]) encoded() []byte           { return v.body }
func (v Encoded[T]) encodedType() reflect.Type { return reflect.TypeFor[T]() }

// Shared returns the bytes of v if it is an Encoded: a whole body, for
// QueueShared.
func Shared(v reflect.Value) ([]byte, bool) {
	if e, ok := v.Interface().(encoded); ok && len(e.encoded()) > 0 {
		return e.encoded(), true
	}
	return nil, false
}

// IsEncoded reports whether t is an Encoded.
func IsEncoded(t reflect.Type) bool { return t.Implements(encodedInterface) }

// encoded is what every Encoded is.
type encoded interface {
	encoded() []byte
	encodedType() reflect.Type
}

var encodedInterface = reflect.TypeFor[encoded]()

func encodedCodec(t reflect.Type) (*Codec, error) {
	c, err := CodecOf(t)
	if err == nil && c.mayHaveFD {
		err = errors.New("descriptors cannot be encoded before they are sent")
	}
	return c, err
}

// preencodedCodec returns the codec of t, which is an Encoded.
func preencodedCodec(t reflect.Type) (*Codec, error) {
	inner, err := encodedCodec(reflect.Zero(t).Interface().(encoded).encodedType())
	if err != nil {
		return nil, err
	}
	return &Codec{
		signature: inner.signature,
		encode:    encodeEncoded,
		decode: func(d *Decoder, _ reflect.Value) {
			d.fail(errors.New("an encoded value can only be sent"))
		},
	}, nil
}

func encodeEncoded(e *Encoder, v reflect.Value) {
	body := v.Interface().(encoded).encoded()
	switch {
	case len(e.buf)&7 != 0: // the padding inside would be wrong
		e.fail(errors.New("an encoded value is not the first of the message"))
	case len(body) == 0:
		e.fail(errors.New("an encoded value is empty"))
	default:
		e.buf = append(e.buf, body...)
	}
}

// Raw writes what was encoded before from a position that is a multiple of
// eight, at which the message must be now.
func (e *Encoder) Raw(b []byte) { e.buf = append(e.buf, b...) }
