package main

// What help and the manual say of the verbs that work on images.
const (
	cloneHelp = `The copy costs nothing where the file system can share (btrfs). It has the host
name and the machine ID of the original, until it is changed. Its .nspawn files are
copied; what was saved of its limits, its snapshots, and that it starts with the
host are not.`

	renameHelp = `Its settings are renamed with it, what was saved of its limits and the like too, and
so are its snapshots; if the machine started with the host, it does so by its new
name. What stays is told. An image that a machine runs from keeps its name.`

	readOnlyHelp = `Without yes or no, it is made read-only.`

	removeHelp = `A machine that runs from the image keeps it from being removed. What is in
/etc/systemd about it is kept for the next image of that name: settings, what was
saved of its limits, and that it starts with the host. All that goes only with
--with-settings. Snapshots are kept.
At a terminal you are asked first, unless -y is given; scripts are not. --dry-run
says what would go.`

	setLimitHelp = `BYTES may end in K, M, G, T, P or E; none takes a limit away. The images must be
on btrfs.`

	cleanHelp = `Hidden images are those whose names begin with a dot, such as downloads that were
kept; snapshots stay. With --all, every image goes. At a terminal you are asked
first, unless -y is given; scripts are not. --dry-run says what would go.`
)
