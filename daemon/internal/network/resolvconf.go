package network

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/wholefile"
	"github.com/machd/machd/pkg/machd"
)

// Guests reaches into machines; *inside.Guard does.
type Guests interface {
	Resolver(ctx context.Context, leader *proc.PIDFD) (inside.Resolver, error)
	Bind(ctx context.Context, leader *proc.PIDFD, name string, b inside.Bind) error
	CopyTo(ctx context.Context, leader *proc.PIDFD, c inside.Copy) error
}

// tellNameServer sees to it that the machine asks us for names, without a change
// to its image. Where nobody in it writes resolv.conf, ours is mounted there;
// systemd-resolved gets a file in /run; and whoever else writes it is told by
// DHCP.
func (m *Manager) tellNameServer(ctx context.Context, x machine.Machine, n *network) error {
	if m.cfg.Guests == nil || n.Kind == machd.LinkBridge {
		return nil
	}
	by, err := m.cfg.Guests.Resolver(ctx, x.Leader)
	if err != nil {
		return err
	}
	dir := m.records.files(n.Machine)
	switch by {
	case inside.ResolverFile, inside.ResolverNone:
		path := filepath.Join(dir, "resolv.conf")
		if err := writeNew(path, n.resolvConf()); err != nil {
			return err
		}
		return m.cfg.Guests.Bind(ctx, x.Leader, x.Name, inside.Bind{
			Source: path, Destination: "/etc/resolv.conf", IDMapped: true, MakeDir: by == inside.ResolverNone,
		})
	case inside.ResolverResolved:
		path := filepath.Join(dir, "systemd/resolved.conf.d/10-machd.conf")
		if err := writeNew(path, n.resolvedConf()); err != nil {
			return err
		}
		return m.cfg.Guests.CopyTo(ctx, x.Leader, inside.Copy{
			Source: filepath.Join(dir, "systemd"), Destination: "/run/systemd", Replace: true, Ownership: inside.OwnershipFlat,
		})
	}
	return nil
}

func writeNew(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("cannot write what the machine is told: %w", err)
	}
	return wholefile.Write(path, []byte(text), 0o644)
}

// resolvConf is the machine's, as long as it writes none itself.
func (n *network) resolvConf() string {
	var b strings.Builder
	b.WriteString("# The host's machd answers here, and asks whom the host asks.\n")
	for _, g := range n.gateways() {
		fmt.Fprintf(&b, "nameserver %s\n", g.Addr())
	}
	return b.String()
}

func (n *network) resolvedConf() string {
	var servers []string
	for _, g := range n.gateways() {
		servers = append(servers, g.Addr().String())
	}
	return "# The host's machd answers here, and asks whom the host asks.\n[Resolve]\nDNS=" + strings.Join(servers, " ") + "\n"
}
