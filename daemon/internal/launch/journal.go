package launch

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"time"

	"github.com/machd/machd/daemon/internal/logline"
)

// logLines is how many lines explain a failed start.
const logLines = 10

// journalPauses are waited between looks for lines that are not there: a sync does
// not cover what a process wrote whose stream a busy journald has not accepted yet.
var journalPauses = []time.Duration{100 * time.Millisecond, 300 * time.Millisecond}

// lastLines returns the last lines that one run of a unit logged, oldest first,
// or those of the unit since a time if the run is not known, or not to the journal.
// It asks a process, since reading a journal needs a library in C; failing is having
// nothing to tell.
func lastLines(ctx context.Context, unit string, invocation [16]byte, since time.Time) []string {
	lines := linesNow(ctx, unit, invocation, since)
	for _, pause := range journalPauses {
		if len(lines) > 0 || ctx.Err() != nil {
			break
		}
		time.Sleep(pause)
		lines = linesNow(ctx, unit, invocation, since)
	}
	return lines
}

func linesNow(ctx context.Context, unit string, invocation [16]byte, since time.Time) []string {
	// What has been written may not have been read yet.
	_ = exec.CommandContext(ctx, "journalctl", "--sync").Run()
	if invocation != [16]byte{} {
		if lines := linesOf(ctx, "_SYSTEMD_INVOCATION_ID="+hex.EncodeToString(invocation[:])); len(lines) > 0 {
			return lines
		}
	}
	// Of a process that ended before journald looked at it, only the unit is known.
	return linesOf(ctx, fmt.Sprintf("--since=@%d.%06d", since.Unix(), since.Nanosecond()/1000), "_SYSTEMD_UNIT="+unit)
}

// linesOf returns the last lines that match.
func linesOf(ctx context.Context, match ...string) []string {
	args := append([]string{"-q", "--no-pager", "-o", "json", "--output-fields=MESSAGE,SYSLOG_IDENTIFIER", "-n", strconv.Itoa(logLines)}, match...)
	out, err := exec.CommandContext(ctx, "journalctl", args...).Output()
	if err != nil {
		return nil
	}
	return parseLines(out)
}

// cleaner is what a unit runs when it has ended, to remove what may be left. It
// complains if there is nothing, which tells nobody anything.
const cleaner = "umount"

// parseLines reads what journalctl -o json printed.
func parseLines(out []byte) (lines []string) {
	decoder := json.NewDecoder(bytes.NewReader(out))
	for {
		var entry struct {
			Message    json.RawMessage
			Identifier string `json:"SYSLOG_IDENTIFIER"`
		}
		if decoder.Decode(&entry) != nil {
			return lines
		}
		if entry.Identifier == cleaner {
			continue
		}
		if text := logline.Clean(messageText(entry.Message)); text != "" {
			lines = append(lines, text)
		}
	}
}

// messageText reads a message, which is a list of bytes if it is no text.
func messageText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var list []byte
	var numbers []uint8
	if json.Unmarshal(raw, &numbers) == nil {
		list = numbers
	}
	return string(list)
}
