package booted

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
)

// keyring is what a host's administrator trusts besides what systemd comes with.
const keyring = "/etc/systemd/import-pubring.gpg"

// signedImages are directories of a server that all have the same archive. This
// host trusts who has signed all but the one in bad. Nothing pads the end of the
// archive: importd of 262 fails if it is still writing padding when all is unpacked.
const signedImages = `
export GNUPGHOME=$PWD/.keys
mkdir -m 700 .keys
mkdir good bad unsigned unlisted changed nosums garbage
key() { gpg -q --batch --passphrase '' --quick-gen-key $1@example.com ed25519 sign 0 2>/dev/null; }
sign() { gpg -q --batch -u $1@example.com -o $2/SHA256SUMS.gpg --detach-sign $2/SHA256SUMS; }
key trusted
key other
tar -C /var/lib/machines/tiny -b 1 -cf good/t.tar .
(cd good; sha256sum t.tar >SHA256SUMS)
for dir in bad unsigned unlisted changed nosums garbage; do cp good/* $dir; done
sed -i s/t.tar/u.tar/ unlisted/SHA256SUMS
echo changed >>changed/t.tar
for dir in good unlisted changed; do sign trusted $dir; done
sign other bad
echo garbage >garbage/SHA256SUMS.gpg
rm nosums/SHA256SUMS
mkdir nowhere
cp good/SHA256SUMS* nowhere
gpg --export trusted@example.com >` + keyring

// TestMachdSignedDownloads downloads what somebody has signed, and what nobody has
// that this host trusts. Whatever is wrong, it says what, and the way out; and
// nothing is left.
func TestMachdSignedDownloads(t *testing.T) {
	forgetDownloads(t)
	workDirectory(t, "signed")
	dir := t.TempDir()
	t.Cleanup(func() {
		os.Remove(keyring)
		observe(t, "gpgconf", "--homedir", dir+"/.keys", "--kill", "gpg-agent")
	})
	run(t, "sh", "-ec", "cd "+dir+signedImages)
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()

	const key, unchecked = "has the host trust who signs", "--verify=no takes it nevertheless"
	rows := []struct{ dir, verify, why, hint string }{ // why is a regular expression
		{"good", "signature", "", ""}, {"garbage", "checksum", "", ""},
		{"bad", "signature", "Signature verification failed", key},
		// gpg reads no more than the signature, and may have ended before the rest is written.
		{"garbage", "signature", "Signature verification failed|Failed to write to pipe: Broken pipe", key},
		{"unsigned", "signature", "Failed to retrieve signature file, cannot verify", "nobody has signed it"},
		{"nosums", "checksum", "Failed to retrieve SHA256 checksum, cannot verify", "the server has no checksum of it"},
		{"unlisted", "signature", "Checksum of t.tar file did not check out", unchecked},
		{"changed", "checksum", "Checksum of t.tar file did not check out", unchecked},
		{"nowhere", "signature", "Failed to retrieve image file", ""}, // all that is asked for at the same time is there
	}
	for _, row := range rows {
		url := server.URL + "/" + row.dir + "/t.tar"
		for _, line := range [][]string{{"pull-tar", "-N", url, "signed"}, {"create", "signed", "--from", url}} {
			o := observe(t, append([]string{"machctl", "--verify=" + row.verify}, line...)...)
			_, told, _ := strings.Cut(o.Stderr, "machctl: cannot ")
			switch {
			case row.why == "" && o.Code != 0, row.why != "" && o.Code != 1, row.why != "" && !regexp.MustCompile(": ("+row.why+")").MatchString(told):
				t.Errorf("%s of %s, by %s: exit status %d\n%s", line[0], row.dir, row.verify, o.Code, o.Stderr)
			case row.hint != "" && !strings.Contains(told, "\nmachctl: hint: ") || !strings.Contains(told, row.hint):
				t.Errorf("%s of %s, by %s, does not tell of %q:\n%s", line[0], row.dir, row.verify, row.hint, o.Stderr)
			case row.dir == "bad" && !strings.Contains(o.Stderr, "gpg: Can't check signature: No public key"):
				t.Errorf("%s does not say what gpg has said:\n%s", line[0], o.Stderr)
			}
			if row.why == "" {
				wantImageFile(t, "signed", "etc/passwd", readFile(t, guests+"/tiny/etc/passwd"))
				run(t, "machctl", "remove", "-y", "signed")
			}
			wantNoTrace(t, "signed")
		}
	}
	must(t, os.Rename("/usr/bin/gpg", "/usr/bin/gpg.away"))
	defer os.Rename("/usr/bin/gpg.away", "/usr/bin/gpg")
	wantTransfer(t, 1, "apt install gpg", "pull-tar", server.URL+"/good/t.tar", "signed")
	wantTransfer(t, 1, "install the package gpg", "create", "signed", "--from", server.URL+"/good/t.tar")
}
