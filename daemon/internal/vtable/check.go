package vtable

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/machd/machd/daemon/internal/wire"
)

var (
	contextType = reflect.TypeFor[context.Context]()
	callType    = reflect.TypeFor[*Call]()
	errorType   = reflect.TypeFor[error]()
)

// Check checks that every row can be served to a Binding whose Target is a
// targetType: the shape of the functions, the types and their names. A table
// that passes cannot fail later.
func (i *Interface) Check(targetType reflect.Type) error {
	_, err := i.faceFor(targetType)
	return err
}

// faceFor returns the rows as they are served to targets of that type.
func (i *Interface) faceFor(targetType reflect.Type) (*face, error) {
	if f := i.face.Load(); f != nil && f.target == targetType {
		return f, nil
	}
	f, err := newFace(i, targetType)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", i.Name, err)
	}
	i.face.Store(f)
	return f, nil
}

func newFace(i *Interface, targetType reflect.Type) (*face, error) {
	f := &face{name: i.Name, target: targetType, signals: i.Signals}
	var errs []error
	if !wire.ValidInterface(i.Name) {
		errs = append(errs, errors.New("the name is not valid"))
	}
	for _, row := range i.Methods {
		m, err := newMethod(i.Name, row, targetType)
		errs = append(errs, rowError(row.Name, err))
		f.methods = append(f.methods, m)
	}
	for _, row := range i.Properties {
		p, err := newProperty(i.Name, row, targetType)
		errs = append(errs, rowError(row.Name, err))
		f.properties = append(f.properties, p)
		f.slow = f.slow || row.Slow
	}
	for _, row := range i.Signals {
		errs = append(errs, rowError(row.Name, checkSignal(row)))
	}
	if err := errors.Join(append(errs, f.index())...); err != nil {
		return nil, err
	}
	f.xml = f.introspect()
	return f, nil
}

func rowError(name string, err error) error {
	if err == nil && !wire.ValidMember(name) {
		err = errors.New("the name is not valid")
	}
	if err != nil {
		return fmt.Errorf("row %q: %w", name, err)
	}
	return nil
}

func checkSignal(row Signal) error {
	_, err := row.arguments()
	return err
}

func (s Signal) arguments() ([]argument, error) {
	types, ok := wire.SplitSignature(s.Types)
	if !ok {
		return nil, fmt.Errorf("%q is no signature", s.Types)
	}
	names, err := argumentNames(s.Args, len(types))
	if err != nil {
		return nil, err
	}
	args := make([]argument, len(types))
	for i := range args {
		args[i] = argument{names[i], types[i]}
	}
	return args, nil
}

// funcOf returns fn as a function that takes the types of in first, and
// returns an error last.
func funcOf(fn any, in ...reflect.Type) (reflect.Value, error) {
	v := reflect.ValueOf(fn)
	if v.Kind() != reflect.Func || v.IsNil() {
		return v, fmt.Errorf("%T is no function", fn)
	}
	t := v.Type()
	if t.IsVariadic() || t.NumIn() < len(in) {
		return v, fmt.Errorf("%v has the wrong parameters", t)
	}
	for i, want := range in {
		if t.In(i) != want {
			return v, fmt.Errorf("parameter %d of %v is not %v", i, t, want)
		}
	}
	if t.NumOut() == 0 || t.Out(t.NumOut()-1) != errorType {
		return v, fmt.Errorf("the last result of %v is not an error", t)
	}
	return v, nil
}

// argumentNames splits names, of which there must be n. "-" becomes "".
func argumentNames(names string, n int) ([]string, error) {
	list := strings.Fields(names)
	if len(list) != n {
		return nil, fmt.Errorf("%d names for %d arguments: %q", len(list), n, names)
	}
	for i := range list {
		if list[i] == "-" {
			list[i] = ""
		}
	}
	return list, nil
}
