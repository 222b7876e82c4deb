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
	"github.com/machd/machd/daemon/internal/unit"
)

// logLines is how many lines explain a failed start.
const logLines = 10

// lastLines returns the last lines that one run of a service logged, oldest first,
// or those since a time of the unit or of the process if the journal does not know
// of the run. It asks a process, since reading a journal needs a library in C;
// failing is having nothing to tell.
func lastLines(ctx context.Context, service string, run unit.Run, since time.Time) []string {
	// What has been written may not have been read yet.
	_ = exec.CommandContext(ctx, "journalctl", "--sync").Run()
	from := fmt.Sprintf("--since=@%d.%06d", since.Unix(), since.Nanosecond()/1000)
	// Of a process that ended before journald looked at it only the unit is known, or,
	// if it had sent its lines itself, not even that.
	var matches [][]string
	if run.Invocation != [16]byte{} {
		matches = append(matches, []string{"_SYSTEMD_INVOCATION_ID=" + hex.EncodeToString(run.Invocation[:])})
	}
	matches = append(matches, []string{from, "_SYSTEMD_UNIT=" + service})
	if run.LastPID != 0 {
		matches = append(matches, []string{from, "_PID=" + strconv.FormatUint(uint64(run.LastPID), 10)})
	}
	for _, match := range matches {
		if lines := linesOf(ctx, match...); len(lines) > 0 {
			return lines
		}
	}
	return nil
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
