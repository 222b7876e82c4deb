package varlinkapi

import (
	"context"
	"log/slog"
	"os"

	"github.com/machd/machd/daemon/internal/varlink"
)

// serviceInterface is what services of systemd have in common.
//
// Reference: varlink-io.systemd.service.c, varlink-util.c.
var serviceInterface = varlink.Interface[*API]{
	Name: "io.systemd.service",
	Doc:  "The service itself",
	Methods: []varlink.Method[*API]{
		{
			Name: "Ping",
			Doc:  "Answers",
			Func: func(context.Context, *API, *varlink.Call) (any, error) { return nil, nil },
		},
		{
			Name: "Reload",
			Doc:  "Not implemented: there is nothing to reload",
			In:   varlink.Fields{interactive},
		},
		{
			Name: "SetLogLevel",
			Doc:  "Sets the least severe level that is logged, as syslog counts; info if null",
			In: varlink.Fields{{
				Name: "level", Type: varlink.Int, Nullable: true, NullIsAbsent: true, Required: true,
				Valid: between(0, int64(len(levels)-1)),
			}},
			Func: setLogLevel,
		},
		{
			Name: "GetLogLevel",
			Doc:  "Returns the least severe level that is logged",
			Out:  varlink.Fields{{Name: "level", Type: varlink.Int}},
			Func: getLogLevel,
		},
		{
			Name: "GetEnvironment",
			Doc:  "Returns the environment variables of the service",
			Out:  varlink.Fields{{Name: "environment", Type: varlink.Array(varlink.String), Nullable: true}},
			Func: getEnvironment,
		},
	},
	Errors: []varlink.ErrorType{{Name: "InconsistentEnvironment", Doc: "The environment variables cannot be told"}},
}

// systemdInterface declares the errors that any method may give. The first
// three never come: clients of systemd make them up when a connection fails.
//
// Reference: varlink-io.systemd.c.
var systemdInterface = varlink.Interface[*API]{
	Name: "io.systemd",
	Doc:  "Errors that any method may give",
	Errors: []varlink.ErrorType{
		{Name: "Disconnected", Doc: "The connection is gone"},
		{Name: "TimedOut", Doc: "No answer came in time"},
		{Name: "Protocol", Doc: "One side broke the protocol"},
		{
			Name: "System",
			Doc:  "An error without a name of its own",
			Fields: varlink.Fields{
				{Name: "origin", Doc: "Whose number it is: 'linux'", Type: varlink.String, Nullable: true},
				{Name: "errnoName", Doc: "As in ENOENT", Type: varlink.String, Nullable: true},
				{Name: "errno", Type: varlink.Int, Nullable: true},
			},
		},
	},
}

// levels has slog's level for each of syslog's.
var levels = [...]slog.Level{
	slog.LevelError + 3, slog.LevelError + 2, slog.LevelError + 1, slog.LevelError,
	slog.LevelWarn, slog.LevelInfo + 1, slog.LevelInfo, slog.LevelDebug,
}

func setLogLevel(_ context.Context, a *API, c *varlink.Call) (any, error) {
	if err := a.privileged(c); err != nil {
		return nil, err
	}
	level := slog.LevelInfo
	if c.In.Has("level") {
		level = levels[c.In.Int("level")]
	}
	a.LogLevel.Set(level)
	return nil, nil
}

func getLogLevel(_ context.Context, a *API, _ *varlink.Call) (any, error) {
	now := a.LogLevel.Level()
	for i, level := range levels {
		if now >= level {
			return levelAnswer{i}, nil
		}
	}
	return levelAnswer{len(levels) - 1}, nil
}

type levelAnswer struct {
	Level int `json:"level"`
}

func getEnvironment(_ context.Context, a *API, c *varlink.Call) (any, error) {
	if err := a.privileged(c); err != nil {
		return nil, err
	}
	return struct {
		Environment []string `json:"environment"`
	}{os.Environ()}, nil
}

// privileged lets root and the daemon's own user through.
func (a *API) privileged(c *varlink.Call) error {
	caller, err := a.Identify(c.Conn)
	if err != nil {
		return err
	}
	defer caller.Close()
	if caller.UID != 0 && !caller.Privileged() {
		return varlink.ErrPermissionDenied
	}
	return nil
}
