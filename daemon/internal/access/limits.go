package access

import "github.com/machd/machd/pkg/machd"

// LimitDetails returns the details of a question about limits.
func LimitDetails(o machd.LimitOptions) map[string]string {
	details := map[string]string{
		"memory": o.Memory, "cpus": o.CPUs, "tasks": o.Tasks, "io_weight": o.IOWeight, "save": "0",
	}
	if o.Save {
		details["save"] = "1"
	}
	return details
}
