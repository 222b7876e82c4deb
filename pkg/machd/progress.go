package machd

// A Progress is how far an operation has come that takes long. The daemon writes
// it as a line of JSON to the pipe that the option progress of such an operation
// has, at most ten times a second, and only what is new. Totals are found out
// while the operation goes on, if at all; until then they are 0.
//
// A line is left out when the pipe is full. Once nobody has the other end of the
// pipe open, the operation is called off and what it has made is taken away.
type Progress struct {
	Bytes      uint64 `json:"bytes"` // copied
	Files      uint64 `json:"files"` // copied or removed
	TotalBytes uint64 `json:"total_bytes,omitempty"`
	TotalFiles uint64 `json:"total_files,omitempty"`
}
