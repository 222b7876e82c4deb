package vtable

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"runtime/debug"
	"sync"

	"github.com/machd/machd/daemon/internal/wire"
)

// A dispatcher answers calls.
type dispatcher struct {
	cfg       Config
	conn      *wire.Conn
	standard  []*face
	ctx       reflect.Value // the context of every call
	exchanges sync.Pool
}

func newDispatcher(cfg Config, conn *wire.Conn) *dispatcher {
	d := &dispatcher{cfg: cfg, conn: conn}
	d.standard = standardFaces(d)
	d.exchanges.New = func() any { return new(exchange) }
	return d
}

// begin makes ctx the context of every call to come.
func (d *dispatcher) begin(ctx context.Context) {
	// A Value of interface type is passed on as it is, without a conversion.
	d.ctx = reflect.ValueOf(&ctx).Elem()
}

// An object is what was found at a path: its interfaces with their targets.
type object []bound

type bound struct {
	face   *face
	object any           // the Binding's Target
	target reflect.Value // the same
}

func newObject(bindings []Binding) (object, error) { return object(nil).extend(bindings) }

func (o object) extend(bindings []Binding) (object, error) {
	for _, b := range bindings {
		f, err := b.Interface.faceFor(reflect.TypeOf(b.Target))
		if err != nil {
			return nil, err
		}
		o = append(o, bound{f, b.Target, reflect.ValueOf(b.Target)})
	}
	return o, nil
}

func (o object) has(iface string) bool {
	for _, b := range o {
		if b.face.name == iface {
			return true
		}
	}
	return false
}

// slow reports whether a property of o may have to wait.
func (o object) slow() bool {
	for _, b := range o {
		if b.face.slow {
			return true
		}
	}
	return false
}

func (d *dispatcher) isStandard(iface string) bool {
	for _, f := range d.standard {
		if f.name == iface {
			return true
		}
	}
	return false
}

// serve answers m, except if that may take long: then it returns the function
// that does. Either way m is closed and forgotten in the end. The answer is
// queued only.
func (d *dispatcher) serve(m *wire.Message) (rest func()) {
	d.conn.Wait()
	x := d.exchanges.Get().(*exchange)
	x.ctx, x.call = d.ctx, newCall(m)
	var row *method
	var target reflect.Value
	err := d.protect(x.call, func() (err error) {
		row, target, err = d.find(x)
		return err
	})
	if err == nil {
		err = admissible(row, m)
	}
	if err == nil && (row.slow || row.properties && x.object.slow()) {
		return func() {
			d.conn.Wait()
			d.finish(x, row, d.run(x, row, target))
		}
	}
	if err == nil {
		err = d.run(x, row, target)
	}
	d.finish(x, row, err)
	return nil
}

// find finds the object and the row that x is about.
func (d *dispatcher) find(x *exchange) (*method, reflect.Value, error) {
	c := x.call
	// Peer is about the connection, so any path will do.
	if c.Interface == peerName {
		return d.findStandard(c, d.standard[:1])
	}
	bindings, ok := d.cfg.Tree.Find(x.context(), c, c.Path)
	if !ok {
		return nil, reflect.Value{}, errUnknownObject(c)
	}
	var err error
	if x.object, err = x.object[:0].extend(bindings); err != nil {
		d.cfg.Log.Error("an object cannot be served", "path", c.Path, "error", err)
		return nil, reflect.Value{}, err
	}
	if len(x.object) == 0 {
		if row, target, err := d.findStandard(c, d.standard[:2]); err == nil {
			return row, target, nil
		}
		return nil, reflect.Value{}, errUnknownObject(c)
	}
	for _, b := range x.object {
		if c.Interface != "" && c.Interface != b.face.name {
			continue
		}
		if row := b.face.byName[c.Member]; row != nil {
			return row, b.target, nil
		}
	}
	return d.findStandard(c, d.standard)
}

func (d *dispatcher) findStandard(c *Call, faces []*face) (*method, reflect.Value, error) {
	for _, f := range faces {
		if c.Interface != "" && c.Interface != f.name {
			continue
		}
		if row := f.byName[c.Member]; row != nil {
			return row, reflect.Value{}, nil
		}
	}
	return nil, reflect.Value{}, errUnknownMethod(c)
}

// admissible checks what can be told before anything is decoded.
func admissible(row *method, m *wire.Message) error {
	switch {
	case m.Signature != row.inSig:
		return errSignature(row, m.Signature)
	case m.Oversized:
		return errOversized
	case m.Incomplete:
		return errIncomplete
	}
	return nil
}

func (d *dispatcher) run(x *exchange, row *method, target reflect.Value) error {
	x.decoder.Reset(x.call.message)
	x.encoder.Reset()
	err := d.protect(x.call, func() error { return row.invoke(x, target) })
	if err == nil {
		if err = x.encoder.Err(); err != nil {
			err = badResult(err)
		}
	}
	if err != nil {
		wire.CloseAll(x.encoder.FDs())
	}
	return err
}

// protect runs fn and makes an error of a panic: a bug that one caller meets
// must not end the service for all.
func (d *dispatcher) protect(c *Call, fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			d.cfg.Log.Error("a method panicked", "path", c.Path, "interface", c.Interface, "member", c.Member,
				"panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = errPanicked
		}
	}()
	return fn()
}

// finish replies and lets go of everything that belongs to x.
func (d *dispatcher) finish(x *exchange, row *method, err error) {
	m := x.call.message
	m.Close()
	switch {
	case err != nil:
		d.refuse(m, err)
	case m.Flags&wire.NoReplyExpected != 0:
		wire.CloseAll(x.encoder.FDs())
	default:
		d.reply(x, row)
	}
	// A handler that kept its Call against the rules finds it empty.
	x.call.message = nil
	x.call, x.shared = nil, nil
	clear(x.object[:cap(x.object)])
	clear(x.args[:cap(x.args)])
	x.decoder = wire.Decoder{}
	d.exchanges.Put(x)
}

func (d *dispatcher) reply(x *exchange, row *method) {
	m := x.call.message
	h := &wire.Header{
		Type: wire.TypeReply, Flags: wire.NoReplyExpected,
		ReplySerial: m.Serial, Destination: m.Sender, Signature: row.outSig,
	}
	if x.shared != nil {
		d.conn.QueueShared(h, x.shared)
		return
	}
	d.conn.Queue(h, x.encoder.Bytes(), x.encoder.FDs())
}

// refuse replies with err. The answer is queued only.
func (d *dispatcher) refuse(m *wire.Message, err error) {
	if m.Flags&wire.NoReplyExpected != 0 {
		return
	}
	name := d.cfg.ErrorName(err)
	if !wire.ValidInterface(name) {
		d.cfg.Log.Warn("an error has no valid name", slog.String("name", name), slog.Any("error", err))
		name = nameFailed
	}
	var e wire.Encoder
	e.Text(errorText(err))
	d.conn.Queue(&wire.Header{
		Type: wire.TypeError, Flags: wire.NoReplyExpected,
		ReplySerial: m.Serial, Destination: m.Sender, ErrorName: name, Signature: "s",
	}, e.Bytes(), nil)
}
