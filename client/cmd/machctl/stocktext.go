package main

// What the stock command says when it fails. Who calls us by its name may look
// for its words: one line, of the first thing that went wrong.

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// A stockError knows how the stock command says the same.
type stockError struct {
	error
	text string
}

func (e *stockError) Unwrap() error { return e.error }

// stocked returns err with the words of the stock command for it.
func stocked(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &stockError{err, fmt.Sprintf(format, args...)}
}

// stockFail says what went wrong as the stock command does.
func (a *app) stockFail(err error) {
	var status statusError
	for _, e := range flatten(err) {
		if !errors.As(e, &status) {
			a.ui.line(a.stockText(e))
			return
		}
	}
}

// stockFailures are what the stock command puts before a daemon's words.
var stockFailures = map[string]string{
	"list":          "Could not get machines: ",
	"list-images":   "Could not get images: ",
	"start":         "Failed to start unit: ",
	"enable":        "Failed to enable or disable unit: ",
	"disable":       "Failed to enable or disable unit: ",
	"login":         "Failed to get login PTY: ",
	"shell":         "Failed to get shell PTY: ",
	"kill":          "Could not kill machine: ",
	"stop":          "Could not kill machine: ",
	"reboot":        "Could not kill machine: ",
	"restart":       "Could not kill machine: ",
	"terminate":     "Could not terminate machine: ",
	"bind":          "Failed to bind mount: ",
	"copy-to":       "Failed to copy: ",
	"copy-from":     "Failed to copy: ",
	"clone":         "Could not clone image: ",
	"rename":        "Could not rename image: ",
	"read-only":     "Could not mark image read-only: ",
	"remove":        "Could not remove image: ",
	"set-limit":     "Could not set limit: ",
	"clean":         "Could not clean pool: ",
	"show":          "Could not get properties: ",
	"status":        "Could not get properties: ",
	"show-image":    "Could not get properties: ",
	"image-status":  "Could not get properties: ",
	"pause":         "Failed to pause machine: ",
	"resume":        "Failed to resume machine: ",
	"bind-volume":   "Failed to attach volume: ",
	"unbind-volume": "Failed to detach volume: ",
}

// startsImages are the verbs that look for an image first, and say in words of
// their own that there is none.
var startsImages = setOf("start enable disable")

func (a *app) stockText(err error) string {
	var known *stockError
	var remote *machine1.RemoteError
	var usage usageError
	if errors.As(err, &known) {
		return known.text
	}
	verb := a.next
	if verb == "" && a.verb != nil {
		verb = a.verb.Name()
	}
	before := stockFailures[verb]
	switch {
	case errors.As(err, &usage):
	case errors.As(err, &remote) && errors.Is(err, machine1.ErrNoSuchImage) && startsImages[verb]:
		_, name, _ := strings.Cut(remote.Error(), "'")
		name, _, _ = strings.Cut(name, "'")
		return fmt.Sprintf("Machine image '%s' does not exist.", name)
	case remote != nil:
		return before + remote.Error()
	case errors.Is(err, machine1.ErrDisconnected) && a.client == nil:
		return "Failed to connect to " + a.scope() + " scope bus via " + a.transport() + " transport: " + err.Error()
	case errors.Is(err, machine1.ErrTimeout):
		return before + unix.ETIMEDOUT.Error()
	}
	return err.Error()
}

func (a *app) transport() string {
	switch {
	case a.host.given:
		return "remote"
	case a.machine.given:
		return "machine"
	}
	return "local"
}

func (a *app) scope() string {
	if a.user {
		return "user"
	}
	return "system"
}

// stockLongOptions are the long options of the stock command in its own order.
const stockLongOptions = "help version host machine system user value property all full kill-whom signal uid setenv read-only mkdir lines " +
	"max-addresses output force now runner verify format no-pager no-legend no-ask-password quiet introspect-cli"

// stockShortOptions are the short ones.
const stockShortOptions = "hHMpPalsEnoVq"

// stockMeant returns the options of the stock command that begin so.
func stockMeant(name string) (meant []string) {
	for option := range strings.FieldsSeq(stockLongOptions) {
		if option == name {
			return []string{name}
		}
		if strings.HasPrefix(option, name) {
			meant = append(meant, option)
		}
	}
	return meant
}

// stockFlagText says what is wrong with an option.
func stockFlagText(err error) string {
	var unknown *pflag.NotExistError
	var bare *pflag.ValueRequiredError
	var bad *pflag.InvalidValueError
	var malformed *pflag.InvalidSyntaxError
	switch {
	case errors.As(err, &malformed):
		return fmt.Sprintf("machinectl: unrecognized option '%s'", malformed.GetSpecifiedFlag())
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		return fmt.Sprintf("machinectl: unrecognized option '-%s'", unknown.GetSpecifiedName())
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		if meant := stockMeant(name); len(meant) > 1 {
			return fmt.Sprintf("machinectl: option '--%s' is ambiguous; possibilities: --%s", name, strings.Join(meant, ", --"))
		}
		return fmt.Sprintf("machinectl: unrecognized option '--%s'", name)
	case errors.As(err, &bare):
		option := "--" + bare.GetSpecifiedName()
		if bare.GetSpecifiedShortnames() != "" {
			option = "-" + bare.GetSpecifiedName()
		}
		return fmt.Sprintf("machinectl: option '%s' requires an argument", option)
	case errors.As(err, &bad):
		return stockValueText(bad.GetFlag(), bad.GetValue())
	}
	return err.Error()
}

func stockValueText(f *pflag.Flag, value string) string {
	switch f.Name {
	case "machine":
		return "Failed to connect to system scope bus via machine transport: Invalid argument"
	case "host":
		return "Failed to connect to system scope bus via remote transport: Invalid argument"
	case "lines":
		return fmt.Sprintf("Failed to parse lines '%s'", value)
	case "max-addresses":
		return "Invalid number of addresses: " + value
	case "runner", "verify":
		return fmt.Sprintf("Failed to parse --%s= setting: %s", f.Name, value)
	}
	return fmt.Sprintf("machinectl: option '--%s' doesn't allow an argument", f.Name)
}

// stockVerbs are the verbs of the stock command in its own order.
const stockVerbs = "list status show start login shell enable disable poweroff stop reboot restart pause resume terminate kill copy-to copy-from " +
	"bind list-images image-status show-image edit cat clone rename read-only remove set-limit clean bind-volume unbind-volume pull-tar pull-raw " +
	"import-tar import-raw import-fs export-tar export-raw list-transfers cancel-transfer"

// stockVerbText says that there is no such verb, and which of its own the stock
// command takes to be meant: one that at most five changes of a byte away.
func stockVerbText(verb string) string {
	best, least := "", 6
	for known := range strings.FieldsSeq(stockVerbs) {
		if n := edits(verb, known); n < least {
			best, least = known, n
		}
	}
	if best == "" {
		return fmt.Sprintf("Unknown command verb '%s'.", verb)
	}
	return fmt.Sprintf("Unknown command verb '%s', did you mean '%s'?", verb, best)
}

// stockNeeds are verbs that take a name, called as machinectl.
var stockNeeds = setOf("stop restart kill")
