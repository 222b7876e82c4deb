package network

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/machd/machd/test/lan"
)

const image = "/var/lib/machines/c8-net"

// A manager is a program in a machine that asks for addresses.
type manager struct {
	name  string
	files map[string]string
	units []string // enabled
	renew []string // inside
	has   []string // inside, exits with 0 when it has come to its end
}

var managers = []manager{
	{
		name:  "NetworkManager",
		files: map[string]string{"etc/NetworkManager/system-connections/host0.nmconnection": "[connection]\nid=host0\ntype=ethernet\ninterface-name=host0\n[ipv4]\nmethod=auto\n[ipv6]\nmethod=auto\n"},
		units: []string{"NetworkManager.service"},
		renew: []string{"nmcli", "connection", "up", "host0"},
		has:   []string{"sh", "-c", "nmcli -g GENERAL.STATE device show host0 | grep -q '^100 '"},
	},
	{
		name:  "ifupdown",
		files: map[string]string{"etc/network/interfaces": "auto lo host0\niface lo inet loopback\niface host0 inet dhcp\n"},
		units: []string{"networking.service"},
		renew: []string{"sh", "-c", "dhclient -1 -v host0"},
		has:   []string{"sh", "-c", "systemctl is-active -q networking && pidof dhclient"},
	},
	{
		name:  "dhcpcd",
		files: map[string]string{"etc/dhcpcd.conf": "allowinterfaces host0\nnodev\n"}, // a veth only by name; there is no udev
		units: []string{"dhcpcd.service"},
		renew: []string{"dhcpcd", "-n", "host0"},
		has:   []string{"sh", "-c", "dhcpcd -U -4 host0 | grep -q ip_address"},
	},
}

// Whatever asks for addresses in a machine is given those that it has anyway,
// and they stay over a renewal, as do the ports.
func TestMachdMachinesThatAskForAddresses(t *testing.T) {
	n := joinedNetwork(t)
	internet(t, n)
	for _, m := range managers {
		t.Run(m.name, func(t *testing.T) {
			name := "asks-" + strings.ToLower(m.name[:4])
			before := startWeb(t, name)
			run(t, "machctl", "stop", "--timeout=1", name)
			root := filepath.Join("/var/lib/machines", name)
			run(t, "cp", "-a", image, root)
			t.Cleanup(func() {
				observe(t, "machctl", "stop", "--if-running", "--force", name)
				os.RemoveAll(root)
			})
			must(t, os.WriteFile(filepath.Join(root, "etc/resolv.conf"), nil, 0o644)) // as a system has it
			for path, text := range m.files {
				must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755))
				must(t, os.WriteFile(filepath.Join(root, path), []byte(text), 0o600))
			}
			for _, unit := range m.units {
				run(t, "chroot", root, "systemctl", "-q", "enable", unit)
			}
			run(t, "machctl", "start", name, "-n", "-p", fmt.Sprintf("%d:80", port))
			same := func(what string) {
				t.Helper()
				eventually(t, what, func() error {
					if o := observe(t, append([]string{"machctl", "exec", name, "--"}, m.has...)...); o.Code != 0 {
						return fmt.Errorf("it has not come to its end: %s%s", o.Stdout, o.Stderr)
					}
					if w := find(t, name); w.v4 != before.v4 || w.v6 != before.v6 || w.gate4 != before.gate4 {
						return fmt.Errorf("it has %v, %v by %v, without it %v, %v by %v", w.v4, w.v6, w.gate4, before.v4, before.v6, before.gate4)
					}
					return nil
				})
				w := find(t, name)
				_, _, outward := ways(n, w)
				wantOpen(t, outward)
				eventually(t, "it is told who knows names", func() error {
					text := observe(t, "machctl", "exec", name, "--", "cat", "/etc/resolv.conf").Stdout
					if !strings.Contains(text, "nameserver "+w.gate4.String()) {
						return fmt.Errorf("its resolv.conf is %q", text)
					}
					return nil
				})
			}
			same("at first")
			w := find(t, name)
			server, err := w.Serve(name, 80)
			must(t, err)
			t.Cleanup(server.Close)
			conn, err := n.Outside.Dial("tcp", at(lan.Host4, port))
			must(t, err)
			defer conn.Close()
			_, err = lan.Hear(conn)
			must(t, err)
			run(t, append([]string{"machctl", "exec", name, "--"}, m.renew...)...)
			same("renewed")
			if err := lan.Echoes(conn); err != nil {
				t.Errorf("a connection from before does not go on: %v", err)
			}
			local, inward, _ := ways(n, w)
			wantOpen(t, append(local, inward...))
		})
	}
}
