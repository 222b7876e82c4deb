package dissect

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestChangeable(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		what       string
		partitions []Partition
		errno      unix.Errno // 0 if it may be changed
		says       string
	}{
		{"a file system", []Partition{{"root", "ext4", "", "rw"}}, 0, ""},
		{"a partition", []Partition{{"home", "ext4", "no", "rw"}, {"root", "btrfs", "no", "rw"}}, 0, ""},
		{"protected programs", []Partition{{"root", "ext4", "no", "rw"}, {"usr", "erofs", "yes", "ro"}, {"usr-verity", "DM_verity_hash", "", "ro"}}, 0, ""},
		{"nothing", nil, unix.ENXIO, "no root partition"},
		{"programs alone", []Partition{{"usr", "erofs", "no", "ro"}}, unix.ENXIO, "no root partition"},
		{"encrypted", []Partition{{"root", "crypto_LUKS", "no", "rw"}}, unix.EOPNOTSUPP, "encrypted"},
		{"verity, as 257 tells it", []Partition{{"root", "ext4", "no", "rw"}, {"root-verity", "DM_verity_hash", "", "ro"}}, unix.EOPNOTSUPP, "verity"},
		{"verity, as 262 tells it", []Partition{{"root", "ext4", "yes", "ro"}}, unix.EOPNOTSUPP, "verity"},
		{"verity beside it", []Partition{{"root", "ext4", "external", "ro"}}, unix.EOPNOTSUPP, "verity"},
		{"squashfs", []Partition{{"root", "squashfs", "", "ro"}}, unix.EOPNOTSUPP, "squashfs"},
		{"erofs", []Partition{{"root", "erofs", "no", "ro"}}, unix.EOPNOTSUPP, "erofs"},
		{"marked", []Partition{{"root", "ext4", "no", "ro"}}, unix.EOPNOTSUPP, "marked as read-only"},
	} {
		err := Description{Partitions: test.partitions}.changeable()
		switch {
		case test.errno == 0 && err != nil:
			t.Errorf("%s: %v", test.what, err)
		case test.errno != 0 && (!errors.Is(err, test.errno) || !strings.Contains(err.Error(), test.says)):
			t.Errorf("%s: got the error %v", test.what, err)
		}
	}
}
