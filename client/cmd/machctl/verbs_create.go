package main

// createVerbs make images, let people into them, and keep what they once were.
func (a *app) createVerbs() []verbRow {
	return []verbRow{
		{
			use: "create NAME --from SOURCE", short: "Make an image", min: 1, max: 1, run: a.create, group: groupImages,
			options: "from mirror packages ssh-key root-password-file verify read-only quiet " + objectOptions + acting,
			words:   words{wordNone}, columns: describeCreated, long: createHelp,
			examples: []example{
				{"machctl create web --from debian:13 --ssh-key ~/.ssh/id_ed25519.pub", "by debootstrap"},
				{"machctl create db --from fedora:42 --root-password-file -", "by dnf; the password is asked for"},
				{"machctl create copy --from machine:c8-ns", "of another image, which may be in use"},
				{"machctl create tools --from oci:docker.io/library/alpine:3", "of a registry's"},
				{"machctl create old --from ./rootfs.tar.xz", "of an archive, disk image or directory"},
			},
		},
		{
			use: "passwd NAME [USER]", short: "Set a password in an image or machine", min: 1, max: 2, run: a.passwd, group: groupImages,
			options: "password-file root-password-file lock quiet " + acting, words: words{wordImage, wordNone}, long: passwdHelp,
			examples: []example{
				{"machctl passwd web", "root's, asked for twice"},
				{"machctl passwd web alice --password-file secret", ""},
			},
		},
		{
			use: "snapshot VERB [NAME [SNAPSHOT]]", short: "Make, list, restore and remove snapshots of images", min: 1, max: 3,
			run: a.snapshot, group: groupImages, columns: func() []columnText { return describe(snapshotList()) },
			options: "yes dry-run quiet " + listOptions + acting, words: words{wordSnapshotVerb, wordImage, wordSnapshot}, long: snapshotHelp,
			examples: []example{
				{"machctl snapshot create web before-upgrade", "also while it runs"},
				{"machctl snapshot list web", ""},
				{"machctl snapshot restore web before-upgrade", "once it is stopped"},
				{"machctl snapshot remove web before-upgrade", ""},
			},
		},
	}
}

const createHelp = `SOURCE is one of these:

  debian:VERSION, ubuntu:VERSION        packages, by debootstrap
  fedora:VERSION, centos-stream:VERSION packages, by dnf
  oci:[HOST/]NAME[:TAG|@DIGEST]         an image of a registry
  machine:NAME                          another image, which may be in use
  http://… or https://…                 an archive or disk image to download
  PATH                                  a directory, an archive or a disk image

A disk image has a partition table or a file system; one that is empty yet is for
import-raw. The image is there once it is whole, and not at all if that fails or
you end this command. Packages are taken only if the distribution has signed them,
and downloads if somebody has whom this host trusts, unless --verify says
otherwise. Machines of Debian and Fedora boot, and can be entered with machctl
shell; with a password or an ssh key also through a login. With --ssh-key an ssh
server is installed, where there are packages.`

const passwdHelp = `USER is root if it is left out. While the machine runs its own chpasswd does it;
otherwise the image's files are changed, in a disk image as well, and nothing in it
is run. The password is asked for twice, or is the first line of a file. It is
hashed by yescrypt where the system does so itself, and by SHA-512 elsewhere. With
--lock none is right any more; keys and machctl shell still are.`

const snapshotHelp = `snapshot create NAME [SNAPSHOT] keeps an image as it is; the time is the name if
there is no other. A machine may run from it: then it is kept as it would be after
a crash. snapshot list [NAME] shows them. snapshot restore NAME SNAPSHOT makes the
image what it was, once nothing runs from it; what it is by then is kept as a
snapshot, too. snapshot remove NAME SNAPSHOT removes one. For programs create tells
image and snapshot, and restore also before, the snapshot that it made.

A snapshot takes no more than what has changed since on btrfs and where files can
share content (KIND is btrfs or reflink); elsewhere it is a copy. Snapshots are
hidden images, which clean removes with --all only. Settings in
/etc/systemd/nspawn stay as they are.

Before something is lost you are asked at a terminal, unless -y is given; --dry-run
says what that would be.`
