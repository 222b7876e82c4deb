package main

import "github.com/machd/machd/client"

// A columnText is a column of a list, or a key of an object, as help and the
// manual tell of it.
type columnText struct {
	list  string // of which it is
	key   string
	shown shown
}

// describe returns what a list tells of each thing.
func describe[T any](l listing[T]) []columnText {
	texts := make([]columnText, len(l.columns))
	for i, c := range l.columns {
		texts[i] = columnText{l.what, c.key, c.shown}
	}
	return texts
}

// describeObject returns the keys of what a verb tells programs of one thing.
func describeObject(verb string, o object) []columnText {
	var texts []columnText
	for _, key := range o.keys() {
		texts = append(texts, columnText{verb, key, inObject})
	}
	return texts
}

func describeStatus() []columnText { return describeObject("status", (&report{}).object()) }

func describeImage() []columnText { return describeObject("image-status", (&imageReport{}).object()) }

func describeEvents() []columnText { return describeObject("events", eventObject(client.Event{})) }

func describeCreated() []columnText {
	return describeObject("create", createdObject("", "", client.CreatedImage{}))
}

func describePlan() []columnText { return describeObject("start", planObject("", "", nil)) }

// text says what a column is.
func (c columnText) text() string {
	if text, ok := columnTexts[c.list+"."+c.key]; ok {
		return text
	}
	return columnTexts[c.key]
}

// columnTexts say what columns are, by key, and where a list means something of
// its own by it, by the list's name and the key. Where nothing else is said, the
// JSON has a string, or null for what is unknown.
var columnTexts = map[string]string{
	"address":             "address of the host, null for every one",
	"addresses":           "IP addresses, an array",
	"answers":             "whether somebody listens at the port's end",
	"boot":                "boot ID of the host then",
	"bytes":               "a number, both ways together",
	"check":               "what was looked at",
	"class":               "container, vm or host",
	"code":                "as of waitid(2): exited, killed or dumped",
	"command":             "what mends it",
	"cpu_percent":         "a number; 100 is one processor",
	"created":             "a time",
	"deployment":          "what it is deployed for, as of machine-info(5)",
	"file":                "path of the file",
	"fixed":               "whether that was done",
	"from":                "when it began, a time",
	"guest":               "port in the machine, a number",
	"host":                "port of the host, a number",
	"hostname":            "name that it calls itself",
	"id":                  "machine ID, 32 hexadecimal digits",
	"invocation":          "invocation ID of its unit",
	"inward":              "whether the port is the host's, for the machine",
	"io_read_per_second":  "bytes, a number",
	"io_write_per_second": "bytes, a number",
	"image":               "image that it is of",
	"key":                 "name of the setting",
	"kind":                "btrfs, reflink or copy",
	"leader":              "process ID of its first process, a number",
	"level":               "how bad it is: ok, warning or error",
	"line":                "number of the line",
	"limit":               "bytes that it may take, a number",
	"link":                "the host's end of its network link",
	"limit_exclusive":     "bytes that it may take and share with nothing, a number",
	"machine":             "name of the machine",
	"machine_id":          "machine ID, 32 hexadecimal digits",
	"memory":              "bytes, a number",
	"modified":            "a time",
	"name":                "its name",
	"note":                "what else there is to know",
	"os":                  "ID of the system in it",
	"packets":             "a number, both ways together",
	"path":                "where it is",
	"ports":               "ports that lead to it, an array",
	"protocol":            "tcp or udp",
	"ran":                 "how long it ran, a number of seconds",
	"read":                "whether it counts, or another file is read in its place",
	"read_only":           "whether it is read-only",
	"result":              "how it ended, in the words of systemd",
	"root_directory":      "where its root is",
	"safe":                "whether that can do no harm",
	"section":             "section of the file",
	"service":             "who registered it",
	"since":               "when it began, a time",
	"snapshot":            "name of the snapshot",
	"state":               "what it does now",
	"status":              "exit status or signal, a number",
	"subject":             "what it is about, null for the host",
	"tasks":               "processes and threads, a number",
	"time":                "when that was, a time",
	"terminated":          "whether somebody ended it",
	"to":                  "when it ended, a time",
	"type":                "directory, subvolume, raw, block or mstack",
	"uid":                 "user who registered it, a number",
	"unit":                "unit that it runs in",
	"usage_exclusive":     "bytes that it takes and shares with nothing, a number",
	"uptime":              "how long it has run, a number of seconds",
	"usage":               "bytes that it takes, a number",
	"value":               "value of the setting",
	"version":             "VERSION_ID of that system",
	"what":                "what is wrong",
	"why":                 "why that is so",
	"zone":                "network that it shares",

	"local":    "name of the image",
	"progress": "from 0 to 1, a number",
	"remote":   "where it comes from or goes to",

	"cpu_seconds": "time of processors that it took, a number",
	"io_read":     "bytes from block devices, a number",
	"io_written":  "bytes to them, a number",
	"network":     "link, guest_link, kind, zone, bridge, mac, gateways, by and dns, null without a network of its own",
	"os_name":     "PRETTY_NAME of that system",
	"problems":    "what is wrong with its network, an array",
	"processes":   "an array of pid, command and cgroup",
	"subgroup":    "control group below the unit's",
	"supervisor":  "process ID of what runs it from outside, a number",
	"uid_shift":   "user ID of the host that is its root, a number",

	"status.ports":           "as port list has them, an array",
	"images.machines":        "machines that run from it, an array",
	"transfers.class":        "machine, portable, sysext or confext",
	"transfers.id":           "a number",
	"transfers.type":         "pull-tar, import-raw and the like",
	"create.source":          "what it was made of, as --from had it",
	"events.event":           "present (it was there), new, ready, changed, removed or failed",
	"events.reason":          "why it could not be started",
	"image-status.os":        "PRETTY_NAME of the system in it",
	"start.changes":          "what --dry-run tells: an array of kind, name, from and to",
	"things to be lost.kind": "image, snapshot, settings or enablement",
	"machines.inward":        "ports of the host that it finds at its gateway, an array",
}
