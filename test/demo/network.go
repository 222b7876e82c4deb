package main

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"

	"github.com/machd/machd/test/lan"
)

// network is what the book does by hand on either side, and machd alone: the
// host at the other end of its LAN, and the Internet, are network namespaces.
var network = []step{
	{"B11", "-n with the book's numbers, and no command for it inside or on the host", (*demo).startWithNetwork},
	{"B12", "ping the Internet, through masquerade", (*demo).pingOut},
	{"B13", "port 8080 of the host, from outside, and what went through", (*demo).reachFromOutside},
	{"B14", "the same from the host itself", (*demo).reachFromHost},
	{"B14n", "stop it, and nothing is left", (*demo).stopWithNetwork},
}

const (
	page = "Hello! This is c8-ns."
	// These are Apache's part, in a Debian without it.
	write = "mkdir -p /var/www && echo '" + page + "' >/var/www/index.html"
	httpd = "busybox httpd -p 80 -h /var/www"
)

func (d *demo) sharedNetwork() error {
	if err := d.boot(); err != nil {
		return err
	}
	if _, err := inside(d.console, write+" && "+httpd); err != nil {
		return err
	}
	processes, err := inside(d.console, "ps -ef | grep 'http[d]'")
	if err != nil {
		return err
	}
	answer, err := inside(d.console, "busybox wget -qO- http://127.0.0.1")
	if err == nil && !strings.Contains(answer, "\n"+page+"\n") {
		err = fmt.Errorf("inside, the page is %q", answer)
	}
	if err != nil {
		return err
	}
	if err := d.wants("^"+page+"\n$", "curl", "-s", "http://localhost"); err != nil {
		return err
	}
	ofHost, err := d.command("sh", "-c", "ps -ef | grep 'http[d] -p 80'")
	if err != nil {
		return err
	}
	process := regexp.MustCompile(`(?m)^\S+ +(\d+) .*busybox httpd -p 80`)
	here, there := process.FindStringSubmatch(ofHost), process.FindStringSubmatch(processes)
	if here == nil || there == nil || here[1] == there[1] {
		return errors.New("the host does not see the container's httpd as a process of its own")
	}
	return d.powerOff()
}

func (d *demo) startWithNetwork() error {
	if _, err := lan.Join(); err != nil {
		return err
	}
	return inOrder(
		func() error {
			_, err := d.command(d.client, "start", "c8-ns", "-n", "--address=10.0.1.2/24", "--gateway=10.0.1.1", "-p", "8080:80")
			return err
		},
		func() error {
			return d.wants(`(?s)ve-c8-ns@if\d+: <[^>]*\bUP,LOWER_UP>.*inet 10\.0\.1\.1/24 .*scope global ve-c8-ns`, "ip", "addr", "show", "dev", "ve-c8-ns")
		},
		func() error {
			return d.wants(`(?s)host0@if\d+: <[^>]*\bUP,LOWER_UP>.*inet 10\.0\.1\.2/24 .*scope global host0`,
				d.client, "exec", "c8-ns", "--", "ip", "addr", "show", "dev", "host0")
		},
		func() error {
			return d.wants(`(?m)^default via 10\.0\.1\.1 dev host0`, d.client, "exec", "c8-ns", "--", "ip", "route")
		},
		func() error { return d.wants(`(?m)^c8-ns .* 10\.0\.1\.2`, d.client, "list") },
		func() error {
			return d.wants(`^inactive\n$`, "sh", "-c", "systemctl is-active systemd-networkd || true")
		},
	)
}

func (d *demo) pingOut() error {
	for _, address := range []string{lan.Internet4, lan.Internet6} {
		if err := d.wants(` 2 received, 0% packet loss`, d.client, "exec", "c8-ns", "--", "ping", "-c", "2", "-i", "0.2", address); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) reachFromOutside() error {
	return inOrder(
		// A command leaves nothing behind, so that it takes a service.
		func() error {
			_, err := d.command(d.client, "exec", "c8-ns", "--", "sh", "-c", write+" && systemd-run -q --service-type=forking "+httpd)
			return err
		},
		func() error {
			return d.wants(`inet `+regexp.QuoteMeta(lan.Outside4)+`/24 `, "ip", "netns", "exec", "outside", "ip", "addr", "show", "dev", "eth0")
		},
		func() error {
			return d.wants("^"+page+"\n$", "ip", "netns", "exec", "outside", "curl", "-s", "http://"+lan.Host4+":8080")
		},
		func() error {
			return d.wants("^"+page+"\n$", "ip", "netns", "exec", "outside", "curl", "-s", "http://["+lan.Host6+"]:8080")
		},
		// The counter of the book.
		func() error {
			return d.wants(`(?m)8080/tcp +80 +[1-9]\d* +\S+ +yes`, d.client, "port", "list", "c8-ns")
		},
	)
}

func (d *demo) reachFromHost() error {
	for _, address := range []string{lan.Host4, "127.0.0.1", "[::1]", "[" + lan.Host6 + "]"} {
		if err := d.wants("^"+page+"\n$", "curl", "-s", "http://"+address+":8080"); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) stopWithNetwork() error {
	return inOrder(
		func() error { _, err := d.command(d.client, "stop", "c8-ns"); return err },
		func() error {
			return eventually(func() error {
				if exec.Command("ip", "link", "show", "dev", "ve-c8-ns").Run() == nil {
					return errors.New("the host still has ve-c8-ns")
				}
				return nil
			})
		},
		func() error { return d.wants(`^$`, "nft", "list", "tables") },
		func() error { _, err := d.fails(7, "curl", "-sS", "http://"+lan.Host4+":8080"); return err },
	)
}
