package vtable

import (
	"context"
	"fmt"
	"reflect"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/wire"
)

// Handler returns answer, which has one argument and one result, as a
// Method.Func that is called without reflection. That was a quarter of the
// daemon's own share of a short call.
func Handler[T, In, Out any](answer func(ctx context.Context, c *Call, target T, in In) (Out, error)) any {
	return typedHandler[T, In, Out](answer)
}

// A fastHandler is what Handler returns.
type fastHandler interface {
	// prepare is prepareFunc for it.
	prepare(target reflect.Type) (in, out []*wire.Codec, invoke func(*exchange) error, err error)
}

type typedHandler[T, In, Out any] func(context.Context, *Call, T, In) (Out, error)

func (h typedHandler[T, In, Out]) prepare(target reflect.Type) (in, out []*wire.Codec, invoke func(*exchange) error, err error) {
	if want := reflect.TypeFor[T](); want != target {
		return nil, nil, nil, fmt.Errorf("the handler is for a %v and not for a %v", want, target)
	}
	argument, err := wire.CodecOf(reflect.TypeFor[In]())
	if err != nil {
		return nil, nil, nil, err
	}
	result, err := wire.CodecOf(reflect.TypeFor[Out]())
	if err != nil {
		return nil, nil, nil, err
	}
	invoke = func(x *exchange) error {
		arg := readValue[In](argument, &x.decoder)
		if err := x.decoder.Close(); err != nil {
			return badArguments(err)
		}
		v, err := h(x.ctx, x.call, x.target.object.(T), arg)
		if err != nil {
			return err
		}
		writeValue(result, &x.encoder, v)
		return nil
	}
	return []*wire.Codec{argument}, []*wire.Codec{result}, invoke, nil
}

// readValue reads a V by c, the usual types without reflection.
func readValue[V any](c *wire.Codec, d *wire.Decoder) V {
	var v V
	if text, ok := any(&v).(*string); ok {
		*text = d.Text()
		return v
	}
	return decode[V](c, d)
}

// writeValue writes v by c, the usual types without reflection.
func writeValue[V any](c *wire.Codec, e *wire.Encoder, v V) {
	switch usual := any(v).(type) {
	case string:
		e.Text(usual)
	case uint64:
		e.Uint64(usual)
	case uint32:
		e.Uint32(usual)
	case bool:
		e.Bool(usual)
	case []byte:
		e.ByteArray(usual)
	case dbus.ObjectPath:
		e.ObjectPath(usual)
	default:
		encode(c, e, v)
	}
}

// decode and encode are apart from their callers so that only here a value
// moves to the heap.

func decode[V any](c *wire.Codec, d *wire.Decoder) V {
	var v V
	c.Decode(d, reflect.ValueOf(&v).Elem())
	return v
}

func encode[V any](c *wire.Codec, e *wire.Encoder, v V) { c.Encode(e, reflect.ValueOf(v)) }
