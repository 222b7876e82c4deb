package vtable

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/machd/machd/daemon/internal/wire"
)

// A face is an Interface prepared for serving targets of one type.
type face struct {
	name       string
	target     reflect.Type // nil for the standard interfaces
	methods    []*method
	properties []*property
	signals    []Signal
	byName     map[string]*method
	propByName map[string]*property
	slow       bool   // a property is
	xml        string // introspection
}

// index makes the look-up maps and refuses a name that is there twice.
func (f *face) index() error {
	f.byName = make(map[string]*method, len(f.methods))
	for _, m := range f.methods {
		if m == nil {
			continue
		}
		if f.byName[m.name] != nil {
			return fmt.Errorf("there are two methods %s", m.name)
		}
		f.byName[m.name] = m
	}
	f.propByName = make(map[string]*property, len(f.properties))
	for _, p := range f.properties {
		if p == nil {
			continue
		}
		if f.propByName[p.name] != nil {
			return fmt.Errorf("there are two properties %s", p.name)
		}
		f.propByName[p.name] = p
	}
	return nil
}

// An argument is one argument or result for introspection.
type argument struct{ name, signature string }

// A method is a row prepared for being called.
type method struct {
	iface, name string
	slow        bool
	properties  bool // it reads or sets them
	in, out     []argument
	inSig       string
	outSig      string
	// invoke reads the arguments, runs the function and writes the results.
	// What it writes is only of use when it returns nil.
	invoke func(x *exchange) error
}

// signatureOf returns the types of args.
func signatureOf(args []argument) string {
	var sig string
	for _, a := range args {
		sig += a.signature
	}
	return sig
}

func newMethod(iface string, row Method, target reflect.Type) (*method, error) {
	in, out, invoke, err := prepareFunc(row.Func, target)
	if err != nil {
		return nil, err
	}
	m := &method{iface: iface, name: row.Name, slow: row.Slow, invoke: invoke}
	if m.in, err = arguments(row.In, in); err != nil {
		return nil, err
	}
	if m.out, err = arguments(row.Out, out); err != nil {
		return nil, err
	}
	m.inSig, m.outSig = signatureOf(m.in), signatureOf(m.out)
	if len(m.inSig) > 255 || len(m.outSig) > 255 {
		return nil, errors.New("the signature is too long")
	}
	return m, nil
}

// prepareFunc returns the codecs of the arguments and of the results of a row's
// function, and what calls it.
func prepareFunc(rowFunc any, target reflect.Type) (in, out []*wire.Codec, invoke func(*exchange) error, err error) {
	if fast, ok := rowFunc.(fastHandler); ok {
		return fast.prepare(target)
	}
	fn, err := funcOf(rowFunc, contextType, callType, target)
	if err != nil {
		return nil, nil, nil, err
	}
	t := fn.Type()
	if in, err = codecsOf(t.NumIn()-3, func(i int) reflect.Type { return t.In(i + 3) }); err != nil {
		return nil, nil, nil, err
	}
	if out, err = codecsOf(t.NumOut()-1, t.Out); err != nil {
		return nil, nil, nil, err
	}
	return in, out, invoker(fn, in, out), nil
}

// invoker returns a function that calls fn with arguments that it reads by
// the codecs in, and writes the results by the codecs out.
func invoker(fn reflect.Value, in, out []*wire.Codec) func(*exchange) error {
	arguments := argumentType(fn.Type(), len(in))
	shared := len(out) == 1 && wire.IsEncoded(fn.Type().Out(0))
	return func(x *exchange) error {
		x.args = append(x.args[:0], x.ctxValue, reflect.ValueOf(x.call), x.target.target)
		if len(in) > 0 {
			values := reflect.New(arguments).Elem()
			for i, c := range in {
				c.Decode(&x.decoder, values.Field(i))
				x.args = append(x.args, values.Field(i))
			}
		}
		if err := x.decoder.Close(); err != nil {
			return badArguments(err)
		}
		results := fn.Call(x.args)
		if err := results[len(out)]; !err.IsNil() {
			return err.Interface().(error)
		}
		if shared {
			var ok bool
			if x.shared, ok = wire.Shared(results[0]); ok {
				return nil
			}
		}
		for i, c := range out {
			c.Encode(&x.encoder, results[i])
		}
		return nil
	}
}

// argumentType is a struct for the n arguments behind the first three, so
// that one allocation holds them all.
func argumentType(fn reflect.Type, n int) reflect.Type {
	fields := make([]reflect.StructField, n)
	for i := range fields {
		fields[i] = reflect.StructField{Name: fmt.Sprintf("A%d", i), Type: fn.In(i + 3)}
	}
	return reflect.StructOf(fields)
}

func codecsOf(n int, typeAt func(int) reflect.Type) ([]*wire.Codec, error) {
	codecs := make([]*wire.Codec, n)
	for i := range codecs {
		c, err := wire.CodecOf(typeAt(i))
		if err != nil {
			return nil, err
		}
		codecs[i] = c
	}
	return codecs, nil
}

func arguments(names string, codecs []*wire.Codec) ([]argument, error) {
	list, err := argumentNames(names, len(codecs))
	if err != nil {
		return nil, err
	}
	args := make([]argument, len(list))
	for i := range args {
		args[i] = argument{list[i], codecs[i].Signature()}
	}
	return args, nil
}

// An exchange is one call with what is needed to answer it. It is used again
// for another call.
type exchange struct {
	ctx      context.Context
	ctxValue reflect.Value // the same
	call     *Call
	object   object  // what is at the path
	row      *method // what is called
	target   bound   // the part of object that row is for, if any
	decoder  wire.Decoder
	encoder  wire.Encoder
	shared   []byte // the body instead of what encoder has, if not nil
	args     []reflect.Value
}
