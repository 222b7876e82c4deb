package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// bridge is the program that leads to a bus.
const bridge = "systemd-stdio-bridge"

// A Host is another host, reached by ssh.
type Host struct {
	User      string // "" leaves it to ssh
	Name      string // a name, an address, or what ssh knows by its configuration
	Port      uint16 // 0 leaves it to ssh
	Container string // a machine of that host whose own bus is meant; "" is the host's
}

// ParseHost understands [USER@]HOST[:PORT][/CONTAINER], as other commands of
// systemd's do. IPv6 addresses stand in brackets, and HOST:CONTAINER is an older
// spelling of HOST/CONTAINER.
func ParseHost(text string) (Host, error) {
	h, err := parseHost(text)
	if err != nil {
		return Host{}, machine1.Errorf(machine1.ErrInvalidArgs, "%q is no [USER@]HOST[:PORT][/CONTAINER]: %s", text, err)
	}
	return h, nil
}

func parseHost(text string) (h Host, err error) {
	rest, container, inContainer := strings.Cut(text, "/")
	if i := strings.LastIndexByte(rest, '@'); i == 0 {
		return h, errors.New("there is no user before the @")
	} else if i > 0 {
		h.User, rest = rest[:i], rest[i+1:]
	}
	port := ""
	switch inside, bracketed := strings.CutPrefix(rest, "["); {
	case bracketed:
		address, after, closed := strings.Cut(inside, "]")
		if !closed || net.ParseIP(strings.SplitN(address, "%", 2)[0]) == nil {
			return h, errors.New("only an IPv6 address stands in brackets")
		}
		h.Name, port = address, after
		if port != "" && port[0] != ':' {
			return h, errors.New("only a port may follow the brackets")
		}
	case strings.Count(rest, ":") > 1:
		return h, errors.New("an IPv6 address stands in brackets")
	default:
		if i := strings.IndexByte(rest, ':'); i >= 0 {
			rest, port = rest[:i], rest[i:]
		}
		h.Name = rest
	}
	if port != "" {
		n, err := strconv.ParseUint(port[1:], 10, 16)
		switch {
		case err == nil && n > 0:
			h.Port = uint16(n)
		case inContainer || !machine1.ValidMachineName(port[1:]) || strings.Trim(port[1:], "0123456789") == "":
			return h, fmt.Errorf("%q is no port", port[1:])
		default:
			container, inContainer = port[1:], true
		}
	}
	if inContainer && !machine1.ValidMachineName(container) {
		return h, fmt.Errorf("%q cannot be a machine's name", container)
	}
	h.Container = container
	return h, h.check()
}

// check refuses what ssh, or what it starts, would take for an option or worse.
func (h Host) check() error {
	odd := func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune("/;'\"`$\\|&<>(){}*?", r)
	}
	switch {
	case h.Name == "":
		return errors.New("there is no host")
	case strings.HasPrefix(h.Name, "-") || strings.HasPrefix(h.User, "-"):
		return errors.New("neither a host nor a user begins with -")
	case strings.ContainsFunc(h.Name+h.User, odd):
		return errors.New("there are characters in it that no host's name has")
	case h.Container != "" && !machine1.ValidMachineName(h.Container):
		return fmt.Errorf("%q cannot be a machine's name", h.Container)
	}
	return nil
}

func (h Host) String() string {
	text := h.Name
	if strings.Contains(text, ":") {
		text = "[" + text + "]"
	}
	if h.User != "" {
		text = h.User + "@" + text
	}
	if h.Port != 0 {
		text += ":" + strconv.Itoa(int(h.Port))
	}
	if h.Container != "" {
		text += "/" + h.Container
	}
	return text
}

// sshPatience is how long ssh may take to reach a host, not counting the time
// that a person takes to answer it.
const sshPatience = 15 * time.Second

// SSH returns the command line that runs a command on the host by ssh, or by
// the program that $SYSTEMD_SSH names. What ssh runs there is given to a shell.
// Options of ssh go before the host.
func (h Host) SSH(options []string, command string) []string {
	program := os.Getenv("SYSTEMD_SSH")
	if program == "" {
		program = "ssh"
	}
	args := append([]string{program, "-x", "-o", fmt.Sprintf("ConnectTimeout=%.0f", sshPatience.Seconds())}, options...)
	if h.Port != 0 {
		args = append(args, "-p", strconv.Itoa(int(h.Port)))
	}
	name := h.Name
	if h.User != "" {
		name = h.User + "@" + name
	}
	return append(args, "--", name, command)
}

// reach is how the bus of another place is reached.
type reach struct {
	patience time.Duration
	plain    bool     // no descriptors are passed
	user     bool     // the user's bus, not the system's
	askable  bool     // a password may be asked for on the way
	stderr   *os.File // for what programs in between say
}

// UserBus lets ConnectHost and ConnectMachine connect to the user's own bus
// there, where the machines that his service manager runs are known.
func UserBus() Option { return func(c *Client) { c.reach.user = true } }

// Patience is how long connecting may take, 25 s without it. ssh may ask a
// person for a password, who takes his time.
func Patience(d time.Duration) Option { return func(c *Client) { c.reach.patience = d } }

// Stderr shows what ssh says, such as why it lets nobody in. Without it, errors
// tell the last of that.
func Stderr(f *os.File) Option { return func(c *Client) { c.reach.stderr = f } }

// ConnectHost connects to the bus of another host, by ssh: the user's keys and
// configuration count, and ssh asks on the terminal for what it needs. Over
// there it takes systemd-stdio-bridge, which comes with systemd.
//
// The connection passes no descriptors. Calls that need them answer
// ErrNotSupported: commands, terminals, and files of images.
func ConnectHost(ctx context.Context, host Host, options ...Option) (*Client, error) {
	if err := host.check(); err != nil {
		return nil, machine1.Errorf(machine1.ErrInvalidArgs, "%q is no host: %s", host.Name, err)
	}
	return dial(ctx, options, host.String(), func(ctx context.Context, r reach) (*dbus.Conn, func(), error) {
		command := bridge
		switch {
		case host.Container != "":
			command += " --machine=" + host.Container
			if r.user {
				command += " --user"
			}
		case r.user:
			// Its --user changes nothing on the host itself.
			command = `sh -c 'exec ` + bridge + ` --bus-path="unix:path=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}/bus"'`
		}
		return bus.DialBridge(ctx, bus.Bridge{Args: host.SSH([]string{"-T"}, command), Stderr: r.stderr})
	})
}
