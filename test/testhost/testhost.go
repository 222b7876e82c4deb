// Command testhost boots a real systemd in a container of its own, a fresh copy
// each time, and runs commands in it as services.
//
// It owns the cache of file trees, the life of a host and everything a host
// leaves behind. It must not know what the commands test.
//
// A host is a container of systemd-nspawn under a copy of this program that is
// the first process of name spaces of its own (keep): when that copy ends, for
// whatever reason, the kernel ends all processes and all mounts of the host.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"
)

const usage = `usage: testhost COMMAND [OPTION...] [ARGUMENT...]

  run [OPTION...] [--] CMD...       boot a fresh host, run CMD in it as a service, give its exit status back
  shell [OPTION...]                 the same with a shell on this terminal
  demo [OPTION...]                  the same with the session of the book, each answer checked
  test [OPTION...] PKG... [-- ARG...]  build the tests of PKG here, run them there; ARG is for the test binary: -test.run=X
  list                              hosts that run now
  exec [HOST] [--] CMD...           run CMD in a host that runs now
  build                             build all file trees that are missing
  clean                             remove the cache and what killed runs left behind

Inside: this checkout is /src (read-only), /var/lib/machines has c8-ns (Debian 13, root's password is c8) and
tiny (busybox, no systemd), alice and bob are users. Nothing of the host survives its end. Hosts are independent:
run as many at the same time as you like. The cache is %s (MACHD_TEST_CACHE).

options:
`

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "testhost:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(args []string) (int, error) {
	if len(args) == 0 || strings.TrimLeft(args[0], "-") == "help" || args[0] == "-h" {
		help()
		return 0, nil
	}
	if os.Geteuid() != 0 {
		return 1, errors.New("booting a container needs root: try again with sudo")
	}
	if err := dieWithGo(); err != nil {
		return 1, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()

	code, err := dispatch(ctx, args[0], args[1:])
	if ctx.Err() != nil {
		return 130, errors.New("interrupted")
	}
	return code, err
}

func dispatch(ctx context.Context, command string, args []string) (int, error) {
	if command == "agent" { // inside a host, where there is no cache
		return 0, agent(ctx)
	}
	c, err := openCache()
	if err != nil {
		return 1, err
	}
	switch command {
	case "run", "shell", "demo", "test":
		return c.session(ctx, command, args)
	case "list":
		return 0, c.list(os.Stdout)
	case "exec":
		return c.enter(ctx, args)
	case "build":
		return 0, c.prepare(ctx, all...)
	case "clean":
		return 0, c.clean()
	case "contained":
		return innermost(ctx, args)
	case "call":
		return call(args)
	}
	return 2, fmt.Errorf("unknown command %q; see testhost help", command)
}

func help() {
	fmt.Printf(usage, cacheFolder())
	flags := new(options).flags("")
	flags.SetOutput(os.Stdout)
	flags.PrintDefaults()
}

// dieWithGo ends this program with the "go run" that started it: the go
// command passes no SIGTERM on, and would leave a host running.
func dieWithGo() error {
	parent, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", os.Getppid()))
	if err != nil || !strings.HasSuffix(parent, "/go") {
		return nil
	}
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0)
}

// flags returns the options of a command that boots a host.
func (o *options) flags(command string) *flag.FlagSet {
	flags := flag.NewFlagSet("testhost "+command, flag.ContinueOnError)
	flags.BoolVar(&o.stock, "stock", false, "leave systemd-machined in its place: machd is not even installed")
	flags.BoolVar(&o.disabled, "disabled", false, "install machd but do not enable it")
	flags.BoolVar(&o.forky, "forky", false, "systemd 262 (Debian forky) instead of 257 (Debian 13)")
	flags.BoolVar(&o.vm, "vm", false, "a host with libvirt and qemu, for virtual machines")
	flags.BoolVar(&o.net, "net", false, "a host with firewalls, docker and libvirt's networks, and a guest c8-net with programs that ask for addresses")
	flags.BoolVar(&o.others, "others", false, "a host with podman and Incus, which publish ports, too")
	flags.BoolVar(&o.kernel, "kernel", false, "a host that is a virtual machine, interpreted, with a kernel of its own (run, test)")
	flags.BoolVar(&o.quiet, "quiet", false, "no progress, and no journal when the command fails")
	flags.BoolVar(&o.json, "json", false, "print the events of go test -json (test)")
	flags.BoolVar(&o.noRace, "no-race", false, "build without the race detector (test)")
	flags.Var(&o.binds, "bind", "show this `file` or folder inside, read-only, under its own name (may be repeated)")
	return flags
}
