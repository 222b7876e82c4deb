package vtable

import (
	"context"
	"errors"
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
	ctx       context.Context // of every call
	ctxValue  reflect.Value   // the same
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
	d.ctx, d.ctxValue = ctx, reflect.ValueOf(&ctx).Elem()
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
	x.ctx, x.ctxValue, x.call = d.ctx, d.ctxValue, newCall(m)
	err := d.protect(x, d.find)
	if err == nil {
		err = admissible(x.row, m)
	}
	if err == nil && (x.row.slow || x.row.properties && x.object.slow()) {
		return func() {
			d.conn.Wait()
			d.finish(x, d.run(x))
		}
	}
	if err == nil {
		err = d.run(x)
	}
	d.finish(x, err)
	return nil
}

// find finds the object and the row that x is about.
func (d *dispatcher) find(x *exchange) error {
	c := x.call
	// Peer is about the connection, so any path will do.
	if c.Interface == peerName {
		return x.findStandard(d.standard[:1])
	}
	bindings, ok := d.cfg.Tree.Find(x.ctx, c, c.Path)
	if !ok {
		return errUnknownObject(c)
	}
	var err error
	if x.object, err = x.object[:0].extend(bindings); err != nil {
		d.cfg.Log.Error("an object cannot be served", "path", c.Path, "error", err)
		return err
	}
	if len(x.object) == 0 {
		if x.findStandard(d.standard[:2]) != nil {
			return errUnknownObject(c)
		}
		return nil
	}
	for _, b := range x.object {
		if c.Interface != "" && c.Interface != b.face.name {
			continue
		}
		if x.row = b.face.byName[c.Member]; x.row != nil {
			x.target = b
			return nil
		}
	}
	return x.findStandard(d.standard)
}

func (x *exchange) findStandard(faces []*face) error {
	for _, f := range faces {
		if x.call.Interface != "" && x.call.Interface != f.name {
			continue
		}
		if x.row = f.byName[x.call.Member]; x.row != nil {
			return nil
		}
	}
	return errUnknownMethod(x.call)
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

func (d *dispatcher) run(x *exchange) error {
	x.decoder.Reset(x.call.message)
	x.encoder.Reset()
	err := d.protect(x, x.row.invoke)
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
func (d *dispatcher) protect(x *exchange, fn func(*exchange) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			c := x.call
			d.cfg.Log.Error("a method panicked", "path", c.Path, "interface", c.Interface, "member", c.Member,
				"panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = errPanicked
		}
	}()
	return fn(x)
}

// finish replies and lets go of everything that belongs to x.
func (d *dispatcher) finish(x *exchange, err error) {
	m := x.call.message
	m.Close()
	switch {
	case err != nil && d.ctx.Err() != nil && errors.Is(err, context.Canceled):
		d.refuse(m, errEnding)
	case err != nil:
		d.refuse(m, err)
	case m.Flags&wire.NoReplyExpected != 0:
		wire.CloseAll(x.encoder.FDs())
	default:
		d.reply(x)
	}
	// A handler that kept its Call against the rules finds it empty.
	x.call.message = nil
	x.call, x.row, x.target, x.shared = nil, nil, bound{}, nil
	clear(x.object[:cap(x.object)])
	clear(x.args[:cap(x.args)])
	x.decoder = wire.Decoder{}
	d.exchanges.Put(x)
}

func (d *dispatcher) reply(x *exchange) {
	m := x.call.message
	h := &wire.Header{
		Type: wire.TypeReply, Flags: wire.NoReplyExpected,
		ReplySerial: m.Serial, Destination: m.Sender, Signature: x.row.outSig,
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
