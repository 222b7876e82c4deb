// Package varlink serves Varlink interfaces from literal tables: JSON objects
// that end with a NUL byte, over a unix socket. It owns frames, connections
// and their limits, and the check of what comes in against the table. It must
// not know what any interface is about, nor who may call it.
package varlink

import (
	"context"
	"fmt"
)

// An Interface is one Varlink interface whose methods work on a T. The text
// that describes it and the check of its input both come from the rows here.
type Interface[T any] struct {
	Name    string
	Doc     string  // one line for people who introspect
	Types   []*Type // to be described in this order; the others need not be listed
	Methods []Method[T]
	Errors  []ErrorType
}

// A Method is one row of an interface. A method whose row is missing does not
// exist: its callers get org.varlink.service.MethodNotFound.
type Method[T any] struct {
	Name    string // without the interface
	Doc     string
	In, Out Fields
	More    More
	Access  string // polkit action or "": data for the permission matrix, not acted on here

	// Func answers the call; a method without one is in the description only.
	// What it returns is encoded as JSON and must have the shape of Out; nil
	// stands for no parameters. A method that streams hands its records to
	// Call.Emit and returns nil. ctx ends with the server or once the caller
	// has hung up; Detach returns one that does not care for the caller.
	Func func(ctx context.Context, target T, c *Call) (any, error)
}

// More says whether a method answers with a stream.
type More int

// The streaming modes. A method that Streams decides itself whether a call
// without "more" can be answered, and returns ErrExpectedMore if not.
const (
	Once       More = iota
	Streams         // several answers if the caller asks for "more"
	OnlyStream      // refused without "more"
)

// An ErrorType declares an error of an interface.
type ErrorType struct {
	Name   string // without the interface
	Doc    string
	Fields Fields
}

// An Error is what goes over the wire instead of an answer.
type Error struct {
	Name       string // with the interface
	Parameters any    // encoded as a JSON object; nil for none
}

func (e *Error) Error() string {
	if e.Parameters == nil {
		return e.Name
	}
	return fmt.Sprintf("%s %+v", e.Name, e.Parameters)
}

// Is reports whether target is an error of the same name.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Name == e.Name
}

// Errors every service can give.
var (
	ErrExpectedMore     = &Error{Name: serviceName + ".ExpectedMore"}
	ErrPermissionDenied = &Error{Name: serviceName + ".PermissionDenied"}
)

// InvalidParameter says which field of the input was wrong.
func InvalidParameter(field string) *Error {
	return &Error{serviceName + ".InvalidParameter", invalidParameter{field}}
}

type invalidParameter struct {
	Parameter string `json:"parameter"`
}

// A method is a row with its target bound.
type method struct {
	name string // with the interface
	in   Fields
	more More
	call func(ctx context.Context, c *Call) (any, error)
}

func (i *Interface[T]) bind(target T) []method {
	bound := make([]method, 0, len(i.Methods))
	for _, m := range i.Methods {
		if m.Func == nil {
			continue
		}
		bound = append(bound, method{
			name: i.Name + "." + m.Name,
			in:   m.In,
			more: m.More,
			call: func(ctx context.Context, c *Call) (any, error) { return m.Func(ctx, target, c) },
		})
	}
	return bound
}
