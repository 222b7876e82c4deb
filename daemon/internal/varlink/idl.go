package varlink

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Description is i in the interface language of Varlink, types first, and of
// these enums first.
func (i *Interface[T]) Description() string {
	var b strings.Builder
	doc(&b, i.Doc)
	fmt.Fprintf(&b, "interface %s\n", i.Name)
	for _, t := range i.types() {
		fmt.Fprintf(&b, "\ntype %s%s\n", t.name, t.body())
	}
	for _, m := range i.Methods {
		b.WriteByte('\n')
		doc(&b, m.Doc)
		doc(&b, m.More.doc())
		fmt.Fprintf(&b, "method %s%s -> %s\n", m.Name, m.In.body(), m.Out.body())
	}
	for _, e := range i.Errors {
		b.WriteByte('\n')
		doc(&b, e.Doc)
		fmt.Fprintf(&b, "error %s%s\n", e.Name, e.Fields.body())
	}
	return b.String()
}

func doc(b *strings.Builder, line string) {
	if line != "" {
		fmt.Fprintf(b, "# %s\n", line)
	}
}

// doc is what systemd's descriptions say, and its tools show.
func (m More) doc() string {
	switch m {
	case Streams:
		return "[Supports 'more' flag]"
	case OnlyStream:
		return "[Requires 'more' flag]"
	}
	return ""
}

// types collects the named types of i: those that i lists, and then others in
// the order they are first used.
func (i *Interface[T]) types() []*Type {
	found := slices.Clone(i.Types)
	for _, t := range i.Types {
		found = t.fields.addTypes(found)
	}
	for _, m := range i.Methods {
		found = m.In.addTypes(found)
		found = m.Out.addTypes(found)
	}
	for _, e := range i.Errors {
		found = e.Fields.addTypes(found)
	}
	slices.SortStableFunc(found, func(a, b *Type) int { return cmp.Compare(a.rank(), b.rank()) })
	return found
}

func (t *Type) rank() int {
	if t.kind == kindEnum {
		return 0
	}
	return 1
}

func (f Fields) addTypes(found []*Type) []*Type {
	for _, field := range f {
		t := field.Type
		for t.elem != nil {
			t = t.elem
		}
		if t.name != "" && !slices.Contains(found, t) {
			found = t.fields.addTypes(append(found, t))
		}
	}
	return found
}

func (t *Type) String() string {
	switch t.kind {
	case kindString:
		return "string"
	case kindInt, kindUint:
		return "int"
	case kindObject:
		return "object"
	case kindBool:
		return "bool"
	case kindArray:
		return "[]" + t.elem.String()
	}
	return t.name
}

// body is what stands after a named type's name.
func (t *Type) body() string {
	if t.kind == kindEnum {
		return list(t.values)
	}
	return t.fields.body()
}

func (f Fields) body() string {
	lines := make([]string, 0, len(f))
	for _, field := range f {
		mark := ""
		if field.Nullable {
			mark = "?"
		}
		line := field.Name + ": " + mark + field.Type.String()
		if field.Doc != "" {
			line = "# " + field.Doc + "\n\t" + line
		}
		lines = append(lines, line)
	}
	return list(lines)
}

func list(lines []string) string {
	if len(lines) == 0 {
		return "()"
	}
	return "(\n\t" + strings.Join(lines, ",\n\t") + "\n)"
}
