package machine

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/envfile"
	"github.com/machd/machd/pkg/machine1"
)

const stateHeader = "# This is private data. Do not parse.\n"

// encodeState returns the state file of m. libsystemd, and the systemd-machined
// that may take over from us, read it: keys, order and quotes are theirs. They
// write no SUBGROUP, although they read it; without it a machine that sits
// below a user's service manager comes back as the owner of all of it.
//
// One key is ours, which all of them skip: LEADER_IMPLIED says that the machine
// lives with its unit without its leader. So nothing but the owner of a unit has
// it: who owns one cannot be seen any more when the leader is gone.
//
// Reference: machine.c, machine_save.
func encodeState(m *Machine) []byte {
	w := stateWriter{}
	w.WriteString(stateHeader)
	w.text("NAME", m.Name)
	w.number("UID", uint64(m.UID))
	w.textIf("SCOPE", m.Unit)
	w.textIf("SUBGROUP", m.Subgroup)
	w.textIf("SCOPE_JOB", string(m.ScopeJob))
	w.textIf("SERVICE", m.Service)
	w.textIf("ROOT", m.RootDirectory)
	if m.ID != [16]byte{} {
		w.text("ID", hex.EncodeToString(m.ID[:]))
	}
	w.process("LEADER", m.leader)
	w.process("SUPERVISOR", m.supervisor)
	w.text("CLASS", string(m.Class))
	w.number("REALTIME", m.Realtime)
	w.number("MONOTONIC", m.Monotonic)
	w.interfaces(m.NetworkInterfaces)
	w.numberIf("VSOCK_CID", uint64(m.VSockCID))
	w.textIf("SSH_ADDRESS", m.SSHAddress)
	w.textIf("SSH_PRIVATE_KEY_PATH", m.SSHPrivateKeyPath)
	w.textIf("CONTROL_ADDRESS", m.ControlAddress)
	if m.implied && m.OwnsUnit() {
		w.number("LEADER_IMPLIED", 1)
	}
	return w.Bytes()
}

type stateWriter struct{ bytes.Buffer }

func (w *stateWriter) text(key, value string) {
	fmt.Fprintf(w, "%s=%s\n", key, envfile.Quote(value))
}

func (w *stateWriter) textIf(key, value string) {
	if value != "" {
		w.text(key, value)
	}
}

func (w *stateWriter) number(key string, n uint64) { fmt.Fprintf(w, "%s=%d\n", key, n) }

func (w *stateWriter) numberIf(key string, n uint64) {
	if n != 0 {
		w.number(key, n)
	}
}

func (w *stateWriter) process(key string, p identity) {
	if p.pid != 0 {
		w.number(key, uint64(p.pid))
		w.numberIf(key+"_PIDFDID", p.id)
	}
}

// interfaces has a space before every number, as the reference writes it since
// it quotes; both kinds of readers split at white space.
func (w *stateWriter) interfaces(indexes []int32) {
	if len(indexes) == 0 {
		return
	}
	var list strings.Builder
	for _, i := range indexes {
		fmt.Fprintf(&list, " %d", i)
	}
	w.text("NETIF", list.String())
}

var errForeignName = errors.New("file names another machine")

// decodeState reads the state file of the machine called name, as we, 257 or
// 262 wrote it. The processes are only named: whether they are still there is
// for the caller to see. A value that makes no sense counts as absent, but
// without a class there is no machine.
//
// Reference: machine.c, machine_load.
func decodeState(name string, data []byte) (Machine, error) {
	list, err := envfile.Parse(data)
	if err != nil {
		return Machine{}, err
	}
	r := stateReader{list}
	if given, ok := list.Get("NAME"); ok && given != name {
		return Machine{}, fmt.Errorf("%w: %q", errForeignName, given)
	}
	m := Machine{
		Name:              name,
		ID:                r.id(),
		Service:           r.text("SERVICE"),
		Class:             machine1.Class(r.text("CLASS")),
		RootDirectory:     r.text("ROOT"),
		Unit:              r.text("SCOPE"),
		Subgroup:          r.text("SUBGROUP"),
		ScopeJob:          dbus.ObjectPath(r.text("SCOPE_JOB")),
		NetworkInterfaces: r.interfaces(),
		VSockCID:          uint32(r.number("VSOCK_CID", math.MaxUint32)),
		SSHAddress:        r.text("SSH_ADDRESS"),
		SSHPrivateKeyPath: r.text("SSH_PRIVATE_KEY_PATH"),
		ControlAddress:    r.text("CONTROL_ADDRESS"),
		UID:               uint32(r.number("UID", math.MaxUint32)),
		Realtime:          r.number("REALTIME", math.MaxUint64),
		Monotonic:         r.number("MONOTONIC", math.MaxUint64),
		leader:            r.process("LEADER"),
		supervisor:        r.process("SUPERVISOR"),
	}
	if !m.Class.Registrable() {
		return Machine{}, fmt.Errorf("unknown class %q", m.Class)
	}
	if strings.ContainsRune(m.Unit, '/') {
		return Machine{}, fmt.Errorf("invalid unit %q", m.Unit)
	}
	if m.ScopeJob != "" && !m.ScopeJob.IsValid() {
		m.ScopeJob = ""
	}
	m.VSockCID = knownCID(m.VSockCID)
	m.implied = r.number("LEADER_IMPLIED", 1) == 1 && m.OwnsUnit()
	return m, nil
}

type stateReader struct{ list envfile.List }

func (r stateReader) text(key string) string {
	value, _ := r.list.Get(key)
	return value
}

// number returns 0 for what is no number, or more than limit.
func (r stateReader) number(key string, limit uint64) uint64 {
	n, err := strconv.ParseUint(r.text(key), 10, 64)
	if err != nil || n > limit {
		return 0
	}
	return n
}

func (r stateReader) process(key string) identity {
	pid := r.number(key, math.MaxInt32)
	if pid <= 1 {
		return identity{}
	}
	return identity{int(pid), r.number(key+"_PIDFDID", math.MaxUint64)}
}

func (r stateReader) id() (id [16]byte) {
	if text := r.text("ID"); len(text) == hex.EncodedLen(len(id)) {
		if raw, err := hex.DecodeString(text); err == nil {
			id = [16]byte(raw)
		}
	}
	return id
}

func (r stateReader) interfaces() []int32 {
	var indexes []int32
	for word := range strings.FieldsSeq(r.text("NETIF")) {
		if i, err := strconv.ParseInt(word, 10, 32); err == nil && i > 0 {
			indexes = append(indexes, int32(i))
		}
	}
	return indexes
}

// knownCID makes one value of the two that say "unknown": 257 keeps no CID in
// its files, and 262 lets 0 through where the registrant gave none.
func knownCID(cid uint32) uint32 {
	if cid == 0 {
		return machine1.VSockCIDAny
	}
	return cid
}
