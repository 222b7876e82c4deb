package booted

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxMemory = 40 << 10 // KiB

	floodOfDescriptors = 2000
	floodOfCalls       = 10_000
)

// hostileUsers are who attacks: the bus policy lets root send more.
var hostileUsers = []string{"root", "nobody"}

// Whatever comes with a call that nobody understands is closed.
func TestMachdLosesNoDescriptors(t *testing.T) {
	daemon := pid(t)
	before := descriptors(t, daemon)
	for _, user := range hostileUsers {
		b := dialRaw(t, user)
		sendMalformedCalls(t, b, floodOfDescriptors)
		must(t, b.ping(floodOfDescriptors+10))
	}
	eventually(t, "the descriptors are closed", func() error {
		if now := descriptors(t, daemon); now > before {
			return fmt.Errorf("it has %d, had %d", now, before)
		}
		return nil
	})
	if now := pid(t); now != daemon {
		t.Errorf("the daemon is process %d now", now)
	}
}

// malformed are calls with two descriptors each that the body, if it is of use,
// refers to.
func malformed() []rawCall {
	var none, indices, set builder
	none.number(0)
	indices.number(8)
	indices.number(0)
	indices.number(1)
	set.text("org.freedesktop.machine1.Manager")
	set.text("PoolPath")
	set.signature("h")
	set.number(1)
	call := toManager
	at := func(path string) rawCall {
		c := call("Terminate", "h", none.b)
		c.path, c.iface = path, "org.freedesktop.machine1.Machine"
		return c
	}
	of := func(iface, member, signature string, body []byte) rawCall {
		c := call(member, signature, body)
		c.iface = iface
		return c
	}
	return []rawCall{
		call("NoSuchMethod", "h", none.b),
		call("GetMachine", "h", none.b),
		call("ListMachines", "ah", indices.b),
		call("RegisterMachine", "ah", indices.b),
		call("CreateMachine", "h", none.b),
		call("OpenMachinePTY", "h", none.b),
		call("GetMachine", "", nil),
		of("no.such.Interface", "ListMachines", "h", none.b),
		of("org.freedesktop.DBus.Properties", "Set", "ssv", set.b),
		of("org.freedesktop.DBus.Properties", "Get", "h", none.b),
		of("org.freedesktop.DBus.Introspectable", "Introspect", "h", none.b),
		of("org.freedesktop.DBus.Peer", "NoSuchMethod", "h", none.b),
		at("/org/freedesktop/machine1/machine/nobody"),
		at("/org/freedesktop/machine1/machine/_2ehost"),
		at("/org/freedesktop/machine1/image/nobody"),
		at("/no/such/object"),
		call("NoSuchMethod", "ayh", append(withLength(make([]byte, 256<<10)), none.b...)),
		call("RegisterMachineWithNetwork", "sayssusai", hostileNetwork(1, nil)),
		call("RegisterMachineEx", "sa(sv)", ex("hostile", descriptorAs("LeaderPIDFD", 0))),
		call("RegisterMachineEx", "sa(sv)", ex("hostile", descriptorAs("LeaderPIDFD", 1), descriptorAs("LeaderPIDFD", 0))),
		call("RegisterMachineEx", "sa(sv)", ex("hostile", descriptorAs("LeaderPIDFD", 1))), // names no class
		call("RegisterMachineEx", "sa(sv)", ex("hostile", descriptorAs("LeaderPIDFD", 7))),
		call("RegisterMachineEx", "sa(sv)", ex("hostile", descriptorAs("Id", 0), descriptorAs("NoSuchKey", 1))),
		call("CreateMachineEx", "sa(sv)a(sv)", append(ex("hostile", descriptorAs("LeaderPIDFD", 1)), make([]byte, 8)...)),
	}
}

// sendMalformedCalls makes n of them, with serials from 2 on; n is a multiple
// of a batch.
func sendMalformedCalls(t *testing.T, b *rawBus, n uint32) {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	must(t, err)
	defer null.Close()
	rights := unix.UnixRights(int(null.Fd()), int(pidfdOf(t, os.Getpid())))
	calls := malformed()
	const batch = 50
	for serial := uint32(2); serial < n+2; serial++ {
		c := calls[int(serial)%len(calls)]
		c.serial, c.fds = serial, 2
		message := c.bytes()
		written, _, err := b.WriteMsgUnix(message, rights, nil)
		must(t, err)
		_, err = b.Write(message[written:])
		must(t, err)
		if (serial-1)%batch == 0 {
			must(t, b.answered(serial+1-batch, serial, errorMessage))
		}
	}
}

// A message that is not understood costs no more than its bytes, and neither
// delays nor disconnects anybody else.
func TestMachdStaysSmallAndQuick(t *testing.T) {
	many := bytes.Repeat([]byte{1, 'y', 0, 1}, 8<<20)
	var groups builder
	groups.number(10)
	groups.align(8)
	groups.signature("s")
	groups.text("x")
	for _, user := range hostileUsers {
		for _, trial := range []struct {
			name  string
			calls int
			call  rawCall
		}{
			{"32 MB of variants", 1, toManager("GetMachine", "av", withLength(many))},
			{"32 MB of scope properties", 1, toManager("CreateMachine", "sayssusa(sv)", manyProperties())},
			{"10,000 calls in flight", floodOfCalls, toManager("ListMachines", "", nil)},
			{"10,000 refused calls in flight", floodOfCalls, toManager("NoSuchMethod", "", nil)},
			{"1,000 slow calls in flight", floodOfCalls / 10, toManager("GetMachineOSRelease", "s", stringOf(".host"))},
			{"a map by signatures", 1, toManager("GetMachine", "a{gs}", groups.b)},
			{"variants inside one another", 100, toManager("GetMachine", "v", append(bytes.Repeat([]byte{1, 'v', 0}, 50), 1, 'y', 0, 1))},
			{"a name of 32 MB", 1, toManager("GetMachine", "s", stringOf(string(bytes.Repeat([]byte{'a'}, 32<<20))))},
			{"32 MB of network interfaces", 1, toManager("RegisterMachineWithNetwork", "sayssusai",
				hostileNetwork(uint32(os.Getpid()), bytes.Repeat([]byte{1, 0, 0, 0}, 8<<20)))},
			{"a hundred thousand properties of one name", 100, toManager("RegisterMachineEx", "sa(sv)",
				ex("hostile", slices.Repeat([]func(*builder){descriptorAs("LeaderPIDFD", 0)}, 1000)...))},
		} {
			t.Run(user+" sends "+trial.name, func(t *testing.T) { flood(t, user, trial.call, trial.calls) })
		}
	}
}

func withLength(elements []byte) []byte {
	var b builder
	b.number(uint32(len(elements)))
	return append(b.b, elements...)
}

func stringOf(s string) []byte {
	var b builder
	b.text(s)
	return b.b
}

// hostileNetwork are the arguments of RegisterMachineWithNetwork.
func hostileNetwork(leader uint32, interfaces []byte) []byte {
	var b builder
	b.text("hostile")
	b.number(0) // id
	b.text("")
	b.text("container")
	b.number(leader)
	b.text("")
	b.number(uint32(len(interfaces)))
	return append(b.b, interfaces...)
}

// manyProperties are the arguments of CreateMachine with two million scope
// properties.
func manyProperties() []byte {
	var b builder
	b.text("hostile")
	b.number(0) // id
	b.text("")
	b.text("container")
	b.number(uint32(os.Getpid()))
	b.text("")
	one := []byte{0, 0, 0, 0, 0, 1, 'y', 0, 7, 0, 0, 0, 0, 0, 0, 0} // ("", <7>)
	all := bytes.Repeat(one, 2<<20)
	all = all[:len(all)-7] // an array ends with its last value
	b.number(uint32(len(all)))
	b.align(8)
	return append(b.b, all...)
}

// flood sends a call many times without reading an answer, while others go on
// asking and the daemon's memory is measured.
func flood(t *testing.T, user string, c rawCall, times int) {
	message := c.bytes()
	wantUnharmed(t, func(t *testing.T, _ *probe) {
		kinds, err := dialRaw(t, user).sendAndDrain(message, times)
		t.Logf("%d replies, %d errors", kinds[replyMessage], kinds[errorMessage])
		if err != nil {
			t.Errorf("the bus has thrown us out: %v", err)
		}
	})
}

// sendAndDrain sends a message many times and only then reads the answers. It
// counts them by type.
func (b *rawBus) sendAndDrain(message []byte, times int) (kinds map[byte]int, err error) {
	kinds = map[byte]int{}
	for serial := range times {
		binary.LittleEndian.PutUint32(message[8:], uint32(serial+2))
		if _, err := b.Write(message); err != nil {
			return kinds, err
		}
	}
	if err := b.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return kinds, err
	}
	for range times {
		r, err := b.read()
		if err != nil {
			return kinds, err
		}
		kinds[r.kind]++
	}
	return kinds, nil
}
