package main

const (
	transferFlags = "quiet class m S C " + acting
	makingFlags   = "force read-only " + transferFlags
	pullFlags     = "verify keep-download N " + makingFlags
)

const (
	pullHelp = `systemd-importd downloads what is at URL (http, https or file) and makes the
image NAME of it; without NAME, it is called like the file. What is downloaded
is checked by a file of checksums beside it, SHA256SUMS or URL.sha256, and that
by its signature, whose key comes with systemd or is in
/etc/systemd/import-pubring.gpg; --verify=checksum does without the signature,
--verify=no without both. A copy as it came is kept as a hidden image, unless
--keep-download=no, or -N, is given.

--force replaces an image of that name, unless a machine runs from it.

^C leaves the transfer to itself: it goes on, list-transfers shows it, and
cancel-transfer ends it. -m, -P, -S and -C are short for --class=machine,
portable, sysext and confext: images that are kept elsewhere.`

	ociHelp = `systemd-importd downloads the container image REF, which is
[REGISTRY[:PORT]/]IMAGE[:TAG], by https, with all layers, and makes the image
NAME of it. What a short IMAGE means is in /usr/lib/systemd/oci-registry. It
needs systemd 260 or later. --force and ^C are what they are to pull-tar.`

	importHelp = `systemd-importd makes the image NAME of FILE, which may be compressed; without
NAME, it is called like the file. With "-" for FILE it comes by standard input.
--force replaces an image of that name, unless a machine runs from it. ^C
leaves the transfer to itself, as with pull-tar; unless it comes from a device or a
socket, whose bytes go through machctl.`

	importFSHelp = `systemd-importd makes a copy of DIRECTORY as the image NAME; without NAME, it is
called like the directory. --force is what it is to import-tar.`

	exportHelp = `systemd-importd writes the image NAME to FILE, or to standard output without
FILE or with "-". It is packed as --format says: uncompressed, xz, gzip, bzip2 or
zstd; else as FILE is called: .xz, .gz, .bz2 or .zst. A machine that runs from
the image goes on writing to it: stop it first. A new FILE is removed again if
that fails.`

	listTransfersHelp = `PROGRESS is a "-" where nobody can tell. --class shows those of one class.`

	cancelTransferHelp = `ID is in the first column of list-transfers. What a transfer has made so far is
removed.`
)

// transferVerbs have images come and go, by systemd-importd.
func (a *app) transferVerbs() []verbRow {
	return []verbRow{
		{
			use: "pull-tar URL [NAME]", short: "Download an image as a tar archive", min: 1, max: 2, run: a.pullTar,
			group: groupTransfer, options: pullFlags, words: words{wordNone}, long: pullHelp, setup: a.portable,
			examples: []example{
				{"machctl pull-tar https://example.com/images/web.tar.xz", "the image is called web"},
				{"machctl pull-tar --verify=checksum https://example.com/images/web.tar.xz web2", "where nobody signs"},
			},
		},
		{
			use: "pull-raw URL [NAME]", short: "Download the image of a disk", min: 1, max: 2, run: a.pullRaw,
			group: groupTransfer, options: pullFlags, words: words{wordNone}, long: pullHelp, setup: a.portable,
			examples: []example{{"machctl pull-raw --verify=no file:///srv/disk.qcow2 disk", ""}},
		},
		{
			use: "pull-oci REF [NAME]", short: "Download an OCI container image", min: 1, max: 2, run: a.pullOCI,
			group: groupTransfer, options: makingFlags, words: words{wordNone}, long: ociHelp, setup: a.portable,
			examples: []example{{"machctl pull-oci docker.io/library/debian:13 debian", ""}},
		},
		{
			use: "import-tar FILE [NAME]", short: "Make an image of a tar archive", min: 1, max: 2, run: a.importTar,
			group: groupTransfer, options: makingFlags, words: words{wordFile, wordNone}, long: importHelp, setup: a.portable,
			examples: []example{
				{"machctl import-tar web.tar.xz", "the image is called web"},
				{"ssh other machctl export-tar web | machctl import-tar - web", "from another host"},
			},
		},
		{
			use: "import-raw FILE [NAME]", short: "Make an image of a disk's", min: 1, max: 2, run: a.importRaw,
			group: groupTransfer, options: makingFlags, words: words{wordFile, wordNone}, long: importHelp, setup: a.portable,
			examples: []example{{"machctl import-raw disk.qcow2", "the image is called disk"}},
		},
		{
			use: "import-fs DIRECTORY [NAME]", short: "Make an image of a directory", min: 1, max: 2, run: a.importFS,
			group: groupTransfer, options: makingFlags, words: words{wordFile, wordNone}, long: importFSHelp, setup: a.portable,
			examples: []example{{"machctl import-fs /srv/web", ""}},
		},
		{
			use: "export-tar NAME [FILE]", short: "Write an image as a tar archive", min: 1, max: 2, run: a.exportTar,
			group: groupTransfer, options: "format " + transferFlags, words: words{wordImage, wordFile}, long: exportHelp, setup: a.portable,
			examples: []example{
				{"machctl export-tar c8-ns c8-ns.tar.xz", ""},
				{"machctl export-tar c8-ns | tar t", ""},
			},
		},
		{
			use: "export-raw NAME [FILE]", short: "Write the image of a disk", min: 1, max: 2, run: a.exportRaw,
			group: groupTransfer, options: "format " + transferFlags, words: words{wordImage, wordFile}, long: exportHelp, setup: a.portable,
			examples: []example{{"machctl export-raw --format=gzip disk >disk.raw.gz", ""}},
		},
		{
			use: "list-transfers", short: "List the transfers that go on", run: a.listTransfers, group: groupTransfer,
			options: "class m S C full " + listOptions, columns: func() []columnText { return describe(a.transferList(nil)) },
			long: listTransfersHelp, setup: a.portable,
			examples: []example{{"machctl list-transfers", ""}},
		},
		{
			use: "cancel-transfer ID…", short: "End a transfer", min: 1, max: -1, run: a.cancelTransfer, group: groupTransfer,
			options: transferFlags, words: words{wordTransfer}, long: cancelTransferHelp, setup: a.portable,
			examples: []example{{"machctl cancel-transfer 3", ""}},
		},
	}
}
