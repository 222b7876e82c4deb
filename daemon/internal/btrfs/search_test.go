package btrfs

import "testing"

func FuzzParseItems(f *testing.F) {
	entry := make([]byte, 32+40)
	entry[24], entry[28] = itemQgroupInfo, 40
	f.Add(entry, uint32(1))
	f.Add(entry, uint32(1<<31))
	f.Add(entry[:40], uint32(1))
	f.Fuzz(func(_ *testing.T, buf []byte, count uint32) {
		var quota Quota
		parseItems(buf, count, func(i item) { quota.take(i) })
	})
}
