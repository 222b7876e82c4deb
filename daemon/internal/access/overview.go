package access

// OverviewDetails returns the details of a question about several machines, or
// about all if there is no name.
//
// Reference: machine-varlink.c, vl_method_list, which says "n/a" of all.
func OverviewDetails(names []string) map[string]string {
	if len(names) == 1 {
		return map[string]string{"machine": names[0]}
	}
	return map[string]string{"machine": "n/a"}
}
