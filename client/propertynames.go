package client

import "slices"

// MachinePropertyNames returns the names of the properties that machines have,
// in the order in which the daemons send them.
func MachinePropertyNames() []string { return slices.Clone(machineOrder) }

// ImagePropertyNames returns the names of the properties that images have,
// likewise.
func ImagePropertyNames() []string { return slices.Clone(imageOrder) }

// ManagerPropertyNames returns the names of the properties that the daemon has.
func ManagerPropertyNames() []string { return slices.Clone(managerOrder) }
