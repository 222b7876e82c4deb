package main

import (
	"context"
	"log/slog"
	"os"
	"strings"

	slogjournal "github.com/systemd/slog-journal"
)

// newLogger returns a logger that writes to the journal when a service manager
// started us, each attribute a field of its own, and to standard error
// otherwise.
func newLogger(level slog.Leveler) *slog.Logger {
	if os.Getenv("JOURNAL_STREAM") != "" {
		handler, err := slogjournal.NewHandler(&slogjournal.Options{
			Level: level,
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				a.Key = strings.ToUpper(a.Key)
				return a
			},
		})
		if err == nil {
			return slog.New(spelledOut{handler})
		}
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

// spelledOut repeats the attributes in the message, since journalctl shows
// nothing else. A record with a MESSAGE_ID has a text that others know, and
// keeps it.
type spelledOut struct{ *slogjournal.Handler }

func (h spelledOut) Handle(ctx context.Context, r slog.Record) error {
	var b strings.Builder
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "MESSAGE_ID" {
			b.Reset()
			return false
		}
		b.WriteString(" " + a.Key + "=" + a.Value.String())
		return true
	})
	r.Message += b.String()
	return h.Handler.Handle(ctx, r)
}

func (h spelledOut) WithAttrs(attrs []slog.Attr) slog.Handler {
	return spelledOut{h.Handler.WithAttrs(attrs).(*slogjournal.Handler)}
}

func (h spelledOut) WithGroup(name string) slog.Handler {
	return spelledOut{h.Handler.WithGroup(name).(*slogjournal.Handler)}
}
