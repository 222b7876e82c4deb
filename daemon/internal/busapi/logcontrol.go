package busapi

import (
	"context"
	"log/slog"

	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

const logControlPath = "/org/freedesktop/LogControl1"

// logControlInterface lets `systemctl service-log-level` reach us. Only root
// may write: the bus policy lets nobody else send Set.
//
// Reference: org.freedesktop.LogControl1(5).
var logControlInterface = vtable.Interface{
	Name: "org.freedesktop.LogControl1",
	Properties: []vtable.Property{
		{Name: "LogLevel", Emits: vtable.EmitsFalse, Privileged: true, Get: logLevel, Set: setLogLevel},
		{Name: "LogTarget", Emits: vtable.EmitsFalse, Privileged: true, Get: logTarget, Set: setLogTarget},
		{Name: "SyslogIdentifier", Emits: vtable.EmitsFalse, Get: syslogIdentifier},
	},
}

// levels pairs syslog's names, most severe first, with the least severe slog
// level that is still written at that name.
var levels = []struct {
	name  string
	level slog.Level
}{
	{"emerg", slog.LevelError + 3},
	{"alert", slog.LevelError + 2},
	{"crit", slog.LevelError + 1},
	{"err", slog.LevelError},
	{"warning", slog.LevelWarn},
	{"notice", slog.LevelInfo + 1},
	{"info", slog.LevelInfo},
	{"debug", slog.LevelDebug},
}

func logLevel(_ context.Context, a *API) (string, error) {
	now := a.logLevel.Level()
	for _, l := range levels {
		if now >= l.level {
			return l.name, nil
		}
	}
	return "debug", nil
}

func setLogLevel(_ context.Context, a *API, name string) error {
	for _, l := range levels {
		if l.name == name {
			a.logLevel.Set(l.level)
			return nil
		}
	}
	return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid log level '%s'", name)
}

func logTarget(context.Context, *API) (string, error) { return "journal", nil }

// setLogTarget accepts the one target there is.
func setLogTarget(_ context.Context, _ *API, target string) error {
	switch target {
	case "journal", "journal-or-kmsg", "auto":
		return nil
	}
	return machine1.Errorf(machine1.ErrNotSupported, "Log target '%s' is not supported, only 'journal' is", target)
}

func syslogIdentifier(context.Context, *API) (string, error) { return "machd", nil }
