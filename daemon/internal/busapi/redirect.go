package busapi

import (
	"context"
	"fmt"
	"reflect"
)

// ofMachine makes a method of the Manager of a machine's own method: the same
// one, with the machine's name before its arguments.
//
// Reference: machined-dbus.c, redirect_method_to_machine.
func ofMachine(method any) any {
	return redirect(method, func(_ context.Context, a *API, name string) (machineObject, error) {
		m, err := a.find(name)
		return machineObject{a, m}, err
	})
}

// ofImage makes a method of the Manager of an image's own method.
//
// Reference: machined-dbus.c, redirect_method_to_image.
func ofImage(method any) any {
	return redirect(method, func(ctx context.Context, a *API, name string) (imageObject, error) {
		i, err := a.images.Get(ctx, name)
		return imageObject{a, i}, err
	})
}

// redirect returns a func(ctx, *vtable.Call, *API, name, in…) (out…, error)
// that calls method, a func(ctx, *vtable.Call, T, in…) (out…, error), with what
// find finds.
func redirect[T any](method any, find func(ctx context.Context, a *API, name string) (T, error)) any {
	own := reflect.TypeOf(method)
	if own.Kind() != reflect.Func || own.NumIn() < 3 || own.In(2) != reflect.TypeFor[T]() {
		panic(fmt.Sprintf("%v is no method of a %v", own, reflect.TypeFor[T]()))
	}
	in := []reflect.Type{own.In(0), own.In(1), reflect.TypeFor[*API](), reflect.TypeFor[string]()}
	for i := 3; i < own.NumIn(); i++ {
		in = append(in, own.In(i))
	}
	out := make([]reflect.Type, own.NumOut())
	for i := range out {
		out[i] = own.Out(i)
	}
	call := reflect.ValueOf(method)
	return reflect.MakeFunc(reflect.FuncOf(in, out, false), func(args []reflect.Value) []reflect.Value {
		ctx, api, name := args[0].Interface().(context.Context), args[2].Interface().(*API), args[3].String()
		target, err := find(ctx, api, name)
		if err != nil {
			return failed(out, err)
		}
		return call.Call(append([]reflect.Value{args[0], args[1], reflect.ValueOf(target)}, args[4:]...))
	}).Interface()
}

// failed is the results of a function that returns err.
func failed(out []reflect.Type, err error) []reflect.Value {
	results := make([]reflect.Value, len(out))
	for i := range out {
		results[i] = reflect.Zero(out[i])
	}
	results[len(out)-1] = reflect.ValueOf(&err).Elem()
	return results
}
