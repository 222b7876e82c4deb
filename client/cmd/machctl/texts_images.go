package main

// What help and the manual say of the verbs that work on images.
const (
	cloneHelp = `The copy costs nothing where the file system can share (btrfs). It has the host
name and the machine ID of the original, until it is changed.`

	renameHelp = `Its settings are renamed with it. An image that a machine runs from keeps its
name.`

	readOnlyHelp = `Without yes or no, it is made read-only.`

	removeHelp = `A machine that runs from the image keeps it from being removed. Settings in
/etc/systemd/nspawn are kept unless --with-settings is given, and snapshots are.
At a terminal you are asked first, unless -y is given; scripts are not. --dry-run
says what would go.`

	setLimitHelp = `BYTES may end in K, M, G, T, P or E; none takes a limit away. The images must be
on btrfs.`

	cleanHelp = `Hidden images are those whose names begin with a dot, such as downloads that were
kept; snapshots stay. With --all, every image goes. At a terminal you are asked
first, unless -y is given; scripts are not. --dry-run says what would go.`
)
