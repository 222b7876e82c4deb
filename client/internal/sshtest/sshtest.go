// Package sshtest has stand-ins for ssh and systemd-stdio-bridge, for tests
// without another host: what would be run there is run here. Tests install them
// as commands, by testscript.Main with Commands.
package sshtest

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/machd/machd/pkg/bus"
)

// Log names the variable of a file that SSH writes its command lines to.
const Log = "SSHTEST_LOG"

// Commands are the programs, by name.
func Commands() map[string]func() {
	return map[string]func(){"ssh": ssh, "systemd-stdio-bridge": bridge}
}

// Hosts that ssh fares differently with. All others are this one.
const (
	Refused = "refused" // nobody is there
	Silent  = "silent"  // it never answers
	Bare    = "bare"    // it has none of our programs
	Noisy   = "noisy"   // its shell says something by itself
	Stock   = "stock"   // it has no machctl
)

// ssh knows as much of ssh's command line as we use.
func ssh() {
	record(os.Args)
	var rest []string
	for i := 1; i < len(os.Args); i++ {
		switch arg := os.Args[i]; {
		case arg == "--":
			rest = os.Args[i+1:]
			i = len(os.Args)
		case arg == "-o", arg == "-p":
			i++
		case !strings.HasPrefix(arg, "-"):
			fatal(255, "ssh: there is no -- before %q", arg)
		}
	}
	if len(rest) != 2 {
		fatal(255, "ssh: want a host and a command, got %q", rest)
	}
	host, command := rest[0], rest[1]
	path := os.Getenv("PATH")
	switch host[strings.LastIndexByte(host, '@')+1:] {
	case Refused:
		fatal(255, "ssh: connect to host refused port 22: Connection refused")
	case Silent:
		time.Sleep(time.Hour)
	case Bare:
		path = "/nonexistent"
	case Stock:
		path = without(path, "machctl")
	case Noisy:
		fmt.Println("Welcome to noisy!")
	}
	shell := exec.Command("sh", "-c", command)
	shell.Stdin, shell.Stdout, shell.Stderr = os.Stdin, os.Stdout, os.Stderr
	shell.Env = append(os.Environ(), "PATH="+path)
	err := shell.Run()
	if code := shell.ProcessState.ExitCode(); err == nil || code >= 0 {
		os.Exit(code)
	}
	os.Exit(255)
}

// without returns a PATH of links to all the commands of ours but one.
func without(path, name string) string {
	own, _ := exec.LookPath(name)
	dir, err := os.MkdirTemp("", "sshtest-")
	if err != nil {
		fatal(255, "ssh: %v", err)
	}
	links, _ := os.ReadDir(filepath.Dir(own))
	for _, link := range links {
		if link.Name() != name {
			_ = os.Symlink(filepath.Join(filepath.Dir(own), link.Name()), filepath.Join(dir, link.Name()))
		}
	}
	return strings.ReplaceAll(path, filepath.Dir(own), dir)
}

// bridge copies between its files and the system bus, and understands nothing
// of either.
func bridge() {
	conn, err := bus.DialSocket(context.Background(), bus.SystemAddress())
	if err != nil {
		fatal(1, "Failed to start bus client: %v", err)
	}
	go func() {
		_, _ = io.Copy(conn, os.Stdin)
		os.Exit(0)
	}()
	_, _ = io.Copy(os.Stdout, conn)
}

func record(args []string) {
	name := os.Getenv(Log)
	if name == "" {
		return
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		fatal(255, "ssh: %v", err)
	}
	fmt.Fprintln(f, strings.Join(args[1:], " "))
	f.Close()
}

func fatal(code int, format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(code)
}
