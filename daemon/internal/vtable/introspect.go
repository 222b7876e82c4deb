package vtable

import (
	"context"
	"encoding/xml"
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"
)

const introspectHeader = `<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
<node>
`

// Introspect returns the introspection of the object at path, as any caller
// would get it, without a bus.
func Introspect(ctx context.Context, tree Tree, path dbus.ObjectPath) (string, error) {
	c := &Call{Path: path, Member: "Introspect"}
	bindings, ok := tree.Find(ctx, c, path)
	if !ok {
		return "", errUnknownObject(c)
	}
	o, err := newObject(bindings)
	if err != nil {
		return "", err
	}
	return introspectNode(standardFaces(nil), o, tree.Children(ctx, c, path)), nil
}

func introspectNode(standard []*face, o object, children []string) string {
	var b strings.Builder
	b.WriteString(introspectHeader)
	for _, f := range standard {
		b.WriteString(f.xml)
	}
	for _, bound := range o {
		b.WriteString(bound.face.xml)
	}
	for _, child := range children {
		b.WriteString(" <node name=\"")
		escape(&b, child)
		b.WriteString("\"/>\n")
	}
	b.WriteString("</node>\n")
	return b.String()
}

// introspect returns f as one element.
func (f *face) introspect() string {
	var b strings.Builder
	fmt.Fprintf(&b, " <interface name=%q>\n", f.name)
	for _, m := range f.methods {
		writeMember(&b, "method", m.name, m.in, "in", m.out)
	}
	for _, p := range f.properties {
		p.introspect(&b)
	}
	for _, s := range f.signals {
		args, _ := s.arguments()
		writeMember(&b, "signal", s.Name, args, "", nil)
	}
	b.WriteString(" </interface>\n")
	return b.String()
}

// writeMember writes a method or a signal. Only a method's arguments have a
// direction.
func writeMember(b *strings.Builder, element, name string, in []argument, direction string, out []argument) {
	if len(in)+len(out) == 0 {
		fmt.Fprintf(b, "  <%s name=%q/>\n", element, name)
		return
	}
	fmt.Fprintf(b, "  <%s name=%q>\n", element, name)
	writeArguments(b, in, direction)
	writeArguments(b, out, "out")
	fmt.Fprintf(b, "  </%s>\n", element)
}

func writeArguments(b *strings.Builder, args []argument, direction string) {
	for _, a := range args {
		fmt.Fprintf(b, "   <arg type=%q", a.signature)
		if a.name != "" {
			b.WriteString(" name=\"")
			escape(b, a.name)
			b.WriteByte('"')
		}
		if direction != "" {
			fmt.Fprintf(b, " direction=%q", direction)
		}
		b.WriteString("/>\n")
	}
}

func (p *property) introspect(b *strings.Builder) {
	if p.hidden {
		return
	}
	access := "read"
	if p.set.IsValid() {
		access = "readwrite"
	}
	fmt.Fprintf(b, "  <property name=%q type=%q access=%q", p.name, p.codec.Signature(), access)
	if p.emits == EmitsTrue && !p.privileged {
		b.WriteString("/>\n")
		return
	}
	b.WriteString(">\n")
	switch p.emits {
	case EmitsConst:
		annotate(b, "org.freedesktop.DBus.Property.EmitsChangedSignal", "const")
	case EmitsFalse:
		annotate(b, "org.freedesktop.DBus.Property.EmitsChangedSignal", "false")
	}
	if p.privileged {
		annotate(b, "org.freedesktop.systemd1.Privileged", "true")
	}
	b.WriteString("  </property>\n")
}

func annotate(b *strings.Builder, name, value string) {
	fmt.Fprintf(b, "   <annotation name=%q value=%q/>\n", name, value)
}

// escape writes s as the value of an attribute. strings.Builder cannot fail.
func escape(b *strings.Builder, s string) { xml.EscapeText(b, []byte(s)) }
