package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/machd/machd/test/lan"
)

// An other is a container whose ports a program publishes that is none of
// systemd's.
type other struct {
	program string
	begin   []string // commands that start the container, in a folder made by prepare
	leader  string   // command that prints the PID of its first process
	inside  []string // commands in its network, which give it addresses
	ports   []published
	end     []string // commands that undo all of it
}

// A published port of the host leads to port 80 of a machine or a container.
type published struct{ by, port string }

// measureOthers prints what goes through ports of those of the others that are
// on this host.
func measureOthers(n lan.Network, rounds int) error {
	dir, err := os.MkdirTemp("", "bench-others-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, o := range []other{podman(dir), incus(dir)} {
		if _, err := exec.LookPath(o.program); err != nil {
			continue
		}
		if err := prepare(dir); err != nil {
			return err
		}
		if err := o.measure(n, rounds); err != nil {
			return fmt.Errorf("%s: %w", o.program, err)
		}
	}
	return nil
}

// prepare puts into dir what an image for Incus is made of. Its tree is what
// podman takes.
func prepare(dir string) error {
	tree := filepath.Join(dir, "rootfs")
	if err := os.RemoveAll(tree); err != nil {
		return err
	}
	if err := command("cp", "-a", plainImage, tree); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "metadata.yaml"), []byte("architecture: x86_64\ncreation_date: 1\n"), 0o644)
}

// podman returns a container with `podman -p`. A test host's files are an
// overlay, on which podman makes none, and it has no controller of cgroups for
// the limit that podman would set.
func podman(dir string) other {
	run := fmt.Sprintf("podman --storage-driver=vfs --root=%s/storage --runroot=%s/run ", dir, dir)
	return other{
		program: "podman",
		begin: []string{
			run + "network create --disable-dns --ipv6 --subnet=10.98.0.0/24 --subnet=fd00:98::/64 bench",
			run + "run --detach --name=bench --pids-limit=0 --network=bench --publish=8089:80 --rootfs " + dir + "/rootfs sleep infinity",
		},
		leader: run + "inspect --format={{.State.Pid}} bench",
		ports:  []published{{"podman -p", "8089"}},
		end: []string{
			run + "rm --force --time=0 bench",
			run + "network rm bench",
			"nft delete table inet netavark",
		},
	}
}

// incus returns a container with proxy devices of both kinds: a process that
// copies, and rules. The process's 0.0.0.0 is [::], too; rules need addresses,
// of the host and of the container.
func incus(dir string) other {
	o := other{
		program: "incus",
		begin: []string{
			fmt.Sprintf("tar -C %s -cf %s/image.tar metadata.yaml rootfs", dir, dir),
			"systemctl start incus.service",
			"incus image import " + dir + "/image.tar --alias=bench",
			"incus storage create bench dir",
			"incus network create benchbr0 ipv4.address=10.97.0.1/24 ipv6.address=fd00:97::1/64 ipv6.dhcp.stateful=true",
			"incus launch bench bench --storage=bench --network=benchbr0",
			"incus config device set bench eth0 ipv4.address=10.97.0.2 ipv6.address=fd00:97::2",
			"incus config device add bench web proxy listen=tcp:0.0.0.0:8087 connect=tcp:127.0.0.1:80",
		},
		leader: "incus list --columns=p --format=csv bench",
		inside: []string{
			"ip address add 10.97.0.2/24 dev eth0",
			"ip address add fd00:97::2/64 dev eth0 nodad",
			"ip route replace default via 10.97.0.1",
			"ip -6 route replace default via fd00:97::1",
		},
		ports: []published{{"Incus proxy", "8087"}, {"Incus proxy nat", "8086"}},
		end: []string{
			"incus delete --force bench",
			"incus network delete benchbr0",
			"incus storage delete bench",
			"incus image delete bench",
			"systemctl stop incus.socket incus.service lxcfs.service",
			"nft delete table inet incus",
		},
	}
	for i, pair := range [][]string{
		{lan.Host4, "10.97.0.2"}, {"127.0.0.1", "10.97.0.2"}, {lan.Host6, "fd00:97::2"}, {"::1", "fd00:97::2"},
	} {
		o.begin = append(o.begin, fmt.Sprintf("incus config device add bench nat%d proxy nat=true listen=tcp:%s connect=tcp:%s",
			i, net.JoinHostPort(pair[0], "8086"), net.JoinHostPort(pair[1], "80")))
	}
	return o
}

func (o other) measure(n lan.Network, rounds int) (err error) {
	defer func() {
		for _, words := range o.end {
			err = errors.Join(err, do(lan.Place{}, words))
		}
	}()
	if err := do(lan.Place{}, o.begin...); err != nil {
		return err
	}
	leader, err := (lan.Place{}).Command(context.Background(), strings.Fields(o.leader)...).Output()
	if err != nil {
		return fmt.Errorf("%s: %w", o.leader, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(leader)))
	if err != nil {
		return err
	}
	container := lan.Of(pid)
	if err := do(container, o.inside...); err != nil {
		return err
	}
	return measurePublished(n, container, rounds, o.ports...)
}

// measureNspawnPort publishes a port by systemd-nspawn itself, for a machine
// whose addresses somebody else sees to.
func measureNspawnPort(n lan.Network, rounds int) error {
	const settings = "/run/systemd/nspawn/" + networked + ".nspawn"
	const port = "8088"
	if err := stopNetworked(); err != nil {
		return err
	}
	if err := os.WriteFile(settings, []byte("[Network]\nVirtualEthernet=yes\nPort=tcp:"+port+":80\n[X-Machd]\nNetwork=no\n"), 0o644); err != nil {
		return err
	}
	defer os.Remove(settings)
	if err := startNetworked(); err != nil {
		return err
	}
	machine, err := findPlace()
	if err != nil {
		return err
	}
	if err := do(lan.Place{},
		"ip address add 10.99.0.1/24 dev ve-"+networked,
		"ip address add fd00:99::1/64 dev ve-"+networked+" nodad",
		"ip link set ve-"+networked+" up",
		"sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
	); err != nil {
		return err
	}
	if err := do(machine,
		"ip link set host0 up",
		"ip address add 10.99.0.2/24 dev host0",
		"ip address add fd00:99::2/64 dev host0 nodad",
		"ip route add default via 10.99.0.1",
		"ip -6 route add default via fd00:99::1",
	); err != nil {
		return err
	}
	time.Sleep(time.Second) // systemd-nspawn hears of the addresses
	return measurePublished(n, machine, rounds, published{"systemd-nspawn -p", port})
}

// measurePublished has a server answer there, and goes to it by ports of the
// host.
func measurePublished(n lan.Network, there lan.Place, rounds int, ports ...published) error {
	sink, err := there.Listen("tcp", ":80")
	if err != nil {
		return err
	}
	defer sink.Close()
	go swallow(sink)
	for _, p := range ports {
		for _, w := range []route{
			{"outside, IPv4, " + p.by, n.Outside, lan.Host4 + ":" + p.port},
			{"outside, IPv6, " + p.by, n.Outside, net.JoinHostPort(lan.Host6, p.port)},
			{"its own address, " + p.by, lan.Place{}, lan.Host4 + ":" + p.port},
			{"127.0.0.1, " + p.by, lan.Place{}, "127.0.0.1:" + p.port},
			{"::1, " + p.by, lan.Place{}, "[::1]:" + p.port},
		} {
			if err := w.measure(rounds); err != nil {
				fmt.Printf("%-34s  no answer: %v\n", w.name, err)
			}
		}
	}
	return nil
}

// do runs commands, without blanks in their words, there.
func do(there lan.Place, commands ...string) error {
	for _, words := range commands {
		if out, err := there.Command(context.Background(), strings.Fields(words)...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", words, err, out)
		}
	}
	return nil
}
