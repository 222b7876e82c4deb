package doctor

import (
	"errors"
	"fmt"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What the links are called that packets are injected by. Ones that are there
// otherwise were left by a daemon that was killed.
const injectorName, injectorPeer = "machd-probe0", "machd-probe1"

// injectors have packets come in by links of the host, as if somebody at their
// other end had sent them. A pair of links is made for it; what is sent by the
// one is redirected to where it is to come in.
type injectors struct {
	space *Space
	mu    sync.Mutex
	made  bool
}

// inject has the frame come in by the link of that index.
func (i *injectors) inject(index int, frame []byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	h, err := i.space.kernel()
	if err != nil {
		return err
	}
	defer h.Close()
	if !i.made {
		removeInjector(h)
		i.made = true
		if err := makeInjector(h); err != nil {
			return fmt.Errorf("cannot make a link to inject packets by: %w", err)
		}
	}
	link, err := h.LinkByName(injectorName)
	if err != nil {
		return err
	}
	if err := redirect(h, link, index); err != nil {
		return fmt.Errorf("cannot have packets come in by a link: %w", err)
	}
	t, err := i.space.tapOn(link.Attrs().Index, unix.ETH_P_ALL)
	if err != nil {
		return err
	}
	defer t.close()
	return t.send(frame)
}

func makeInjector(h *netlink.Handle) error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = injectorName
	if err := h.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: injectorPeer}); err != nil {
		return err
	}
	for _, name := range []string{injectorName, injectorPeer} {
		link, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		const none = 1 // no address of its own
		err = errors.Join(h.LinkSetIP6AddrGenMode(link, none), h.LinkSetARPOff(link), h.LinkSetUp(link))
		if err != nil {
			return err
		}
	}
	return nil
}

// redirect has what leaves by link from come in by the link of index to, and
// nothing else any more.
func redirect(h *netlink.Handle, from netlink.Link, to int) error {
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: from.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
	_ = h.QdiscDel(qdisc) // the first time there is none
	if err := h.QdiscAdd(qdisc); err != nil {
		return err
	}
	action := netlink.NewMirredAction(to)
	action.MirredAction = netlink.TCA_INGRESS_REDIR
	return h.FilterAdd(&netlink.U32{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: from.Attrs().Index, Parent: netlink.HANDLE_MIN_EGRESS, Priority: 1, Protocol: unix.ETH_P_ALL,
		},
		Actions: []netlink.Action{action},
	})
}

func removeInjector(h *netlink.Handle) {
	if link, err := h.LinkByName(injectorName); err == nil {
		h.LinkDel(link)
	}
}

func (i *injectors) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.made {
		return
	}
	h, err := i.space.kernel()
	if err != nil {
		return
	}
	defer h.Close()
	removeInjector(h)
}
