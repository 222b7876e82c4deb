package image

// Settings says what becomes of an image's settings files when the image is
// removed.
type Settings int

const (
	// RemoveSettings removes them wherever they are, as systemd-machined does.
	RemoveSettings Settings = iota
	// KeepSettings leaves those below /etc, which a human wrote.
	KeepSettings
)
