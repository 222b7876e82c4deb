package machine1test

import (
	"fmt"
	"io"
	"maps"
	"os"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"
)

const (
	importName    = "org.freedesktop.import1"
	importPath    = dbus.ObjectPath("/org/freedesktop/import1")
	importManager = importName + ".Manager"
	importNode    = importPath + "/transfer"
	importOne     = importName + ".Transfer"
)

// An importd is systemd-importd as far as the world plays it. Its mutex is the
// world's.
type importd struct {
	w         *World
	conn      *dbus.Conn
	old       bool // as before systemd 256
	oci       bool // as of systemd 260
	steps     []string
	last      uint32
	transfers map[uint32]*transfer
}

type transfer struct {
	id                         uint32
	kind, class, local, remote string
	progress                   float64
	canceled                   chan struct{}
}

// StartImportd puts a systemd-importd on the bus, of systemd 257, which every
// other version is told by: "old" has only what was there before 256, "oci"
// what came by 260. Transfers do what Plan says.
func (w *World) StartImportd(version string) error {
	conn, err := dbus.Connect(w.Address)
	if err != nil {
		return err
	}
	d := &importd{w: w, conn: conn, old: version == "old", oci: version == "oci", transfers: map[uint32]*transfer{}}
	if err := d.export(); err != nil {
		return err
	}
	w.mu.Lock()
	w.importd = d
	w.mu.Unlock()
	return own(conn, importName)
}

// StopImportd takes systemd-importd off the bus, with its transfers.
func (w *World) StopImportd() {
	w.mu.Lock()
	d := w.importd
	w.importd = nil
	w.mu.Unlock()
	if d != nil {
		d.conn.Close()
	}
}

// Plan says what the transfers do that are begun from now on, in order:
//
//	log PRIORITY TEXT   say a line, or several with \n between
//	progress FRACTION   be as far as that
//	read                read the file that is imported to its end
//	write N             write N times x to the file that is exported to
//	wait                go on when it is canceled
//	fail                end as failed; the rest is not done
//
// One that comes to its end is done.
func (w *World) Plan(steps ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.importd.steps = steps
}

func (d *importd) export() error {
	methods := map[string]any{
		"ImportTar": d.importOld("import-tar"), "ImportRaw": d.importOld("import-raw"), "ImportFileSystem": d.importOld("import-fs"),
		"ExportTar": d.exportOld("export-tar"), "ExportRaw": d.exportOld("export-raw"),
		"PullTar": d.pullOld("pull-tar"), "PullRaw": d.pullOld("pull-raw"),
		"ListTransfers": d.listOld, "CancelTransfer": d.cancel,
	}
	if !d.old {
		maps.Copy(methods, map[string]any{
			"ImportTarEx": d.importNew("import-tar"), "ImportRawEx": d.importNew("import-raw"), "ImportFileSystemEx": d.importNew("import-fs"),
			"ExportTarEx": d.exportNew("export-tar"), "ExportRawEx": d.exportNew("export-raw"),
			"PullTarEx": d.pullNew("pull-tar"), "PullRawEx": d.pullNew("pull-raw"),
			"ListTransfersEx": d.listNew,
		})
	}
	if d.oci {
		methods["PullOci"] = d.pullOCI
	}
	introspect := func() (string, *dbus.Error) {
		var b strings.Builder
		for name := range methods {
			fmt.Fprintf(&b, `<method name="%s"/>`, name)
		}
		return b.String(), nil
	}
	if err := d.conn.ExportMethodTable(methods, importPath, importManager); err != nil {
		return err
	}
	if err := d.conn.ExportMethodTable(map[string]any{"Introspect": introspect}, importPath, introspectable); err != nil {
		return err
	}
	return d.conn.ExportSubtreeMethodTable(map[string]any{"Get": d.get}, importNode, properties)
}

func (d *importd) importNew(kind string) any {
	return func(msg dbus.Message, fd dbus.UnixFD, local, class string, flags uint64) (uint32, dbus.ObjectPath, *dbus.Error) {
		return d.begin(msg, os.NewFile(uintptr(fd), "import"), transfer{kind: kind, class: class, local: local}, local, class, flags)
	}
}

func (d *importd) importOld(kind string) any {
	return func(msg dbus.Message, fd dbus.UnixFD, local string, force, readOnly bool) (uint32, dbus.ObjectPath, *dbus.Error) {
		return d.begin(msg, os.NewFile(uintptr(fd), "import"), transfer{kind: kind, class: "machine", local: local}, local, force, readOnly)
	}
}

func (d *importd) exportNew(kind string) any {
	return func(msg dbus.Message, local, class string, fd dbus.UnixFD, format string, flags uint64) (uint32, dbus.ObjectPath, *dbus.Error) {
		return d.begin(msg, os.NewFile(uintptr(fd), "export"), transfer{kind: kind, class: class, local: local}, local, class, format, flags)
	}
}

func (d *importd) exportOld(kind string) any {
	return func(msg dbus.Message, local string, fd dbus.UnixFD, format string) (uint32, dbus.ObjectPath, *dbus.Error) {
		return d.begin(msg, os.NewFile(uintptr(fd), "export"), transfer{kind: kind, class: "machine", local: local}, local, format)
	}
}

func (d *importd) pullNew(kind string) any {
	return func(msg dbus.Message, url, local, class, verify string, flags uint64) (uint32, dbus.ObjectPath, *dbus.Error) {
		return d.begin(msg, nil, transfer{kind: kind, class: class, local: local, remote: url}, url, local, class, verify, flags)
	}
}

func (d *importd) pullOld(kind string) any {
	return func(msg dbus.Message, url, local, verify string, force bool) (uint32, dbus.ObjectPath, *dbus.Error) {
		return d.begin(msg, nil, transfer{kind: kind, class: "machine", local: local, remote: url}, url, local, verify, force)
	}
}

func (d *importd) pullOCI(msg dbus.Message, reference, local, class string, flags uint64) (uint32, dbus.ObjectPath, *dbus.Error) {
	return d.begin(msg, nil, transfer{kind: "pull-oci", class: class, local: local, remote: reference}, reference, local, class, flags)
}

// begin answers the beginning of a transfer, of which some signals come before
// the answer.
func (d *importd) begin(msg dbus.Message, file *os.File, t transfer, args ...any) (uint32, dbus.ObjectPath, *dbus.Error) {
	if err := d.w.enter(msg, args...); err != nil {
		if file != nil {
			file.Close()
		}
		return 0, "/", err
	}
	d.w.mu.Lock()
	d.last++
	t.id, t.canceled, t.progress = d.last, make(chan struct{}), -1.7976931348623157e308
	d.transfers[t.id] = &t
	steps := d.steps
	d.w.mu.Unlock()
	path := t.path()
	d.emit(importPath, importManager+".TransferNew", t.id, path)
	for len(steps) > 0 && strings.HasPrefix(steps[0], "log ") {
		d.do(&t, nil, steps[0])
		steps = steps[1:]
	}
	go d.run(&t, file, steps)
	return t.id, path, nil
}

func (t *transfer) path() dbus.ObjectPath {
	return importNode + dbus.ObjectPath(fmt.Sprintf("/_%d", t.id))
}

func (d *importd) emit(path dbus.ObjectPath, name string, values ...any) {
	_ = d.conn.Emit(path, name, values...) // the test is over
}

func (d *importd) run(t *transfer, file *os.File, steps []string) {
	result := "done"
	for _, step := range steps {
		if step == "fail" {
			result = "failed"
			break
		}
		if !d.do(t, file, step) {
			result = "canceled"
			break
		}
	}
	if file != nil {
		file.Close()
	}
	d.w.mu.Lock()
	delete(d.transfers, t.id)
	d.w.mu.Unlock()
	d.emit(importPath, importManager+".TransferRemoved", t.id, t.path(), result)
}

// do reports whether the transfer goes on.
func (d *importd) do(t *transfer, file *os.File, step string) bool {
	word, rest, _ := strings.Cut(step, " ")
	switch word {
	case "log":
		priority, text, _ := strings.Cut(rest, " ")
		n, _ := strconv.ParseUint(priority, 10, 32)
		d.emit(t.path(), importOne+".LogMessage", uint32(n), strings.ReplaceAll(text, `\n`, "\n"))
	case "progress":
		fraction, _ := strconv.ParseFloat(rest, 64)
		d.w.mu.Lock()
		t.progress = fraction
		d.w.mu.Unlock()
		if !d.old {
			d.emit(t.path(), importOne+".ProgressUpdate", fraction)
		}
	case "read":
		_, _ = io.Copy(io.Discard, file)
	case "write":
		n, _ := strconv.Atoi(rest)
		_, _ = io.WriteString(file, strings.Repeat("x", n))
	case "restart": // as far as the bus can tell
		_, _ = d.conn.ReleaseName(importName)
		_, _ = d.conn.RequestName(importName, dbus.NameFlagDoNotQueue)
	case "wait":
		select {
		case <-t.canceled:
			return false
		case <-d.w.ended:
			return false
		}
	}
	return true
}

func (d *importd) cancel(msg dbus.Message, id uint32) *dbus.Error {
	if err := d.w.enter(msg, id); err != nil {
		return err
	}
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	t, ok := d.transfers[id]
	if !ok {
		return Error("org.freedesktop.import1.NoSuchTransfer", "No transfer by id %d", id)
	}
	select {
	case <-t.canceled:
	default:
		close(t.canceled)
	}
	return nil
}

type listedTransfer struct {
	ID                         uint32
	Type, Remote, Local, Class string
	Progress                   float64
	Path                       dbus.ObjectPath
}

func (d *importd) listNew(msg dbus.Message, class string, flags uint64) ([]listedTransfer, *dbus.Error) {
	if err := d.w.enter(msg, class, flags); err != nil {
		return nil, err
	}
	return d.list(class), nil
}

func (d *importd) list(class string) []listedTransfer {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	rows := []listedTransfer{}
	for _, t := range d.transfers {
		if class == "" || class == t.class {
			rows = append(rows, listedTransfer{t.id, t.kind, t.remote, t.local, t.class, t.progress, t.path()})
		}
	}
	return rows
}

type oldListedTransfer struct {
	ID                  uint32
	Type, Remote, Local string
	Progress            float64
	Path                dbus.ObjectPath
}

func (d *importd) listOld(msg dbus.Message) ([]oldListedTransfer, *dbus.Error) {
	if err := d.w.enter(msg); err != nil {
		return nil, err
	}
	rows := []oldListedTransfer{}
	for _, t := range d.list("") {
		rows = append(rows, oldListedTransfer{t.ID, t.Type, t.Remote, t.Local, t.Progress, t.Path})
	}
	return rows, nil
}

func (d *importd) get(msg dbus.Message, iface, property string) (dbus.Variant, *dbus.Error) {
	path, _ := msg.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	for _, t := range d.transfers {
		if t.path() == path {
			return dbus.MakeVariant(t.id), nil
		}
	}
	return dbus.Variant{}, Error("org.freedesktop.DBus.Error.UnknownObject", "Unknown object '%s'.", path)
}
