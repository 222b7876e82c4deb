package varlinkapi

import (
	"context"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// Doctor looks for what is wrong; *doctor.Doctor does.
type Doctor interface {
	Diagnose(ctx context.Context, name string, o machd.DiagnoseOptions) ([]machd.Finding, error)
}

var findingType = varlink.Struct("Finding",
	varlink.Field{Name: "check", Doc: "That found it", Type: varlink.String},
	varlink.Field{Name: "subject", Doc: "A machine, link, unit or file; left out if it is the host", Type: varlink.String, Nullable: true},
	varlink.Field{Name: "level", Type: varlink.Enum("Level", machd.LevelOK, machd.LevelWarning, machd.LevelError)},
	varlink.Field{Name: "what", Doc: "There is, one line", Type: varlink.String},
	varlink.Field{Name: "why", Doc: "It is so, and what follows", Type: varlink.String, Nullable: true},
	varlink.Field{Name: "command", Doc: "That mends it, for a shell", Type: varlink.String, Nullable: true},
	varlink.Field{Name: "safe", Doc: "'fix' does that", Type: varlink.Bool},
	varlink.Field{Name: "fixed", Doc: "It was done now", Type: varlink.Bool})

var diagnoseMethods = []varlink.Method[*API]{
	{
		Name: "Diagnose",
		Doc:  "Looks for what is wrong with a machine, or with the host and all of them if none is named",
		In: varlink.Fields{
			{Name: "name", Type: varlink.String, Nullable: true, Valid: isLookupName}, interactive,
			option("fix", "Do what is safe", varlink.Bool),
		},
		Out:    varlink.Fields{{Name: "findings", Type: varlink.Array(findingType)}},
		Access: machd.ActionManageNetwork,
		Func:   ownDiagnose,
	},
}

type findingRecord struct {
	Check   string `json:"check"`
	Subject string `json:"subject,omitempty"`
	Level   string `json:"level"`
	What    string `json:"what"`
	Why     string `json:"why,omitempty"`
	Command string `json:"command,omitempty"`
	Safe    bool   `json:"safe"`
	Fixed   bool   `json:"fixed"`
}

func ownDiagnose(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	o := machd.DiagnoseOptions{Fix: c.In.Bool("fix")}
	name, err := a.maybeMachine(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := a.ask(ctx, c, access.Diagnose(o), map[string]string{"machine": name}); err != nil {
		return nil, err
	}
	if a.Doctor == nil {
		return nil, machine1.Errorf(machine1.ErrNotSupported, "This daemon diagnoses nothing")
	}
	list, err := a.Doctor.Diagnose(ctx, name, o)
	if err != nil {
		return nil, err
	}
	findings := make([]findingRecord, len(list))
	for i, f := range list {
		findings[i] = findingRecord(f)
	}
	return struct {
		Findings []findingRecord `json:"findings"`
	}{findings}, nil
}
