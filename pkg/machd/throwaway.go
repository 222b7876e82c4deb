package machd

import "strings"

// ThrowawayPrefix begins the name of the directory, in the pool, of the root of a
// machine that is thrown away with it.
const ThrowawayPrefix = ".#machd-run-"

// MakeThrowaway is the first argument of the command by which the unit of such a
// machine makes its root. The next ones are the pool, the machine's name, and the
// path of the image that the root is made of.
const MakeThrowaway = "--make-throwaway"

// IsThrowaway reports whether a machine whose root directory that is has a root
// that is thrown away.
func IsThrowaway(rootDirectory string) bool {
	return strings.Contains(rootDirectory, "/"+ThrowawayPrefix)
}

// ThrowawayImage returns the path of the image that a command makes the root of a
// machine of, "" if it makes none.
func ThrowawayImage(argv []string) string {
	const image = 4
	if len(argv) > image && argv[1] == MakeThrowaway {
		return argv[image]
	}
	return ""
}
