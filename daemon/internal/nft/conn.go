package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A conn is the way to the kernel's nftables. After an error it begins anew, as
// nobody knows then what is still to be read.
type conn struct {
	socket *netlink.Conn
	ports  *portIDs
}

const (
	// bufferSize of the socket. A batch is sent in one piece, and all of it is
	// acknowledged before anything is read.
	bufferSize = 8 << 20
	// patience with the kernel, which answers at once.
	patience = 10 * time.Second
)

// portIDs are the addresses of sockets of ours, by which Watch knows our own
// changes.
type portIDs struct {
	mu  sync.Mutex
	set map[uint32]bool
}

func (p *portIDs) add(id uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set[id] = true
}

func (p *portIDs) has(id uint32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.set[id]
}

// open returns the socket, with a deadline for what is done now.
func (c *conn) open() (*netlink.Conn, error) {
	if c.socket == nil {
		socket, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
		if err != nil {
			return nil, explain(err)
		}
		if err := errors.Join(socket.SetReadBuffer(bufferSize), socket.SetWriteBuffer(bufferSize)); err != nil {
			socket.Close()
			return nil, err
		}
		id, err := portID(socket)
		if err != nil {
			socket.Close()
			return nil, err
		}
		c.ports.add(id)
		c.socket = socket
	}
	return c.socket, c.socket.SetDeadline(time.Now().Add(patience))
}

func portID(socket *netlink.Conn) (id uint32, err error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	var address unix.Sockaddr
	if e := raw.Control(func(fd uintptr) { address, err = unix.Getsockname(int(fd)) }); e != nil || err != nil {
		return 0, errors.Join(e, err)
	}
	local, ok := address.(*unix.SockaddrNetlink)
	if !ok {
		return 0, fmt.Errorf("a netlink socket has the address %T", address)
	}
	return local.Pid, nil
}

func (c *conn) close() {
	if c.socket != nil {
		c.socket.Close()
		c.socket = nil
	}
}

// send has the kernel do the batch. If it returns nil, all of it was done;
// otherwise that has to be looked up.
func (c *conn) send(b *batch) (err error) {
	if b.err != nil || len(b.messages) == 0 {
		return b.err
	}
	socket, err := c.open()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			c.close()
			err = explain(err)
		}
	}()
	sent, err := socket.SendMessages(b.framed())
	if err != nil {
		return err
	}
	last := sent[len(sent)-2].Header.Sequence
	for {
		answers, err := socket.Receive()
		if err != nil {
			return err
		}
		for _, a := range answers {
			if a.Header.Sequence == last {
				return nil
			}
		}
	}
}

func (b *batch) framed() []netlink.Message {
	frame := func(kind netlink.HeaderType) netlink.Message {
		return netlink.Message{
			Header: netlink.Header{Type: kind, Flags: netlink.Request},
			Data:   generic(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES),
		}
	}
	all := make([]netlink.Message, 0, len(b.messages)+2)
	all = append(all, frame(unix.NFNL_MSG_BATCH_BEGIN))
	all = append(all, b.messages...)
	return append(all, frame(unix.NFNL_MSG_BATCH_END))
}

// get returns the answers to a question about the table, without the header that
// all begin with. What is not there has none.
func (c *conn) get(kind uint16, flags netlink.HeaderFlags, family nftables.TableFamily, table string, fill func(*netlink.AttributeEncoder)) (answers [][]byte, err error) {
	b := batch{table: table}
	b.add(kind, flags, family, fill)
	if b.err != nil {
		return nil, b.err
	}
	question := b.messages[0]
	question.Header.Flags = netlink.Request | flags
	var list []netlink.Message
	for range attempts {
		socket, err := c.open()
		if err != nil {
			return nil, err
		}
		list, err = socket.Execute(question)
		if errors.Is(err, unix.ENOENT) {
			return nil, nil
		}
		if err != nil {
			c.close()
			return nil, explain(err)
		}
		// Somebody changed something meanwhile, so some may be missing.
		if !slices.ContainsFunc(list, interrupted) {
			break
		}
	}
	for _, m := range list {
		if len(m.Data) > 4 && m.Header.Type&0xff00 == unix.NFNL_SUBSYS_NFTABLES<<8 {
			answers = append(answers, m.Data[4:])
		}
	}
	return answers, nil
}

func interrupted(m netlink.Message) bool { return m.Header.Flags&netlink.DumpInterrupted != 0 }

// explain gives errors a name that somebody can do something about.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: %w", ErrNotPermitted, err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w: %w", ErrNoKernel, err)
	}
	return fmt.Errorf("nftables: %w", err)
}

// attributes calls take with every attribute of data, nested ones as bytes.
func attributes(data []byte, take func(kind uint16, value []byte) error) error {
	decoder, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return err
	}
	decoder.ByteOrder = binary.BigEndian
	for decoder.Next() {
		if err := take(decoder.Type(), decoder.Bytes()); err != nil {
			return err
		}
	}
	return decoder.Err()
}
