package access

import (
	"strings"

	"github.com/machd/machd/pkg/machd"
)

// PortDetails returns the details of a question about ports.
func PortDetails(ports []string, o machd.PortOptions) map[string]string {
	details := map[string]string{"ports": strings.Join(ports, " "), "inward": "0", "save": "0"}
	if o.Inward {
		details["inward"] = "1"
	}
	if o.Save {
		details["save"] = "1"
	}
	return details
}

// Diagnose returns the rule for a diagnosis.
func Diagnose(o machd.DiagnoseOptions) Rule {
	if o.Fix {
		return OwnFix
	}
	return OwnDiagnose
}
