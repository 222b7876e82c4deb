package booted

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const imageMethods = "io.systemd.MachineImage."

// The life of an image, as Varlink callers see it.
func TestVarlinkChangesImages(t *testing.T) {
	const name, other = "vl-image", "vl-image-moved"
	root := func(name string) string { return filepath.Join(guests, name) }
	t.Cleanup(func() {
		for _, name := range []string{name, other} {
			os.RemoveAll(root(name))
		}
	})
	call := func(method, parameters string) error {
		t.Helper()
		_, err := varlinkCallAt(t, "root", imageSocket, imageMethods+method, parameters)
		return err
	}
	show := func(name string) map[string]any {
		t.Helper()
		image, err := varlinkCallAt(t, "alice", imageSocket, imageMethods+"List", `{"name":"`+name+`"}`)
		must(t, err)
		return image
	}
	must(t, call("Clone", `{"name":"tiny","newName":"`+name+`"}`))
	if i := show(name); i["type"] != "directory" || i["path"] != root(name) || i["readOnly"] != false || i["class"] != "machine" {
		t.Errorf("the clone is %v", i)
	}
	must(t, call("Update", `{"name":"`+name+`","newName":"`+other+`","readOnly":true}`))
	if i := show(other); i["path"] != root(other) || i["readOnly"] != true {
		t.Errorf("it is now %v", i)
	}
	wantName := func(method, parameters, want string) {
		t.Helper()
		if err := call(method, parameters); err == nil || err.Error() != want {
			t.Errorf("%s %s: %v, want %s", method, parameters, err, want)
		}
	}
	wantName("List", `{"name":"`+name+`"}`, imageMethods+"NoSuchImage")
	wantName("Clone", `{"name":"tiny","newName":"`+other+`"}`, "io.systemd.System")
	wantName("Remove", `{"name":"`+name+`"}`, imageMethods+"NoSuchImage")
	wantName("List", `{"name":"../etc"}`, "org.varlink.service.InvalidParameter")
	wantName("List", `{}`, "org.varlink.service.ExpectedMore")
	must(t, call("Update", `{"name":"`+other+`","readOnly":false}`))
	for _, method := range []string{"Remove", "Update"} {
		if _, err := varlinkCallAt(t, "alice", imageSocket, imageMethods+method, `{"name":"`+other+`"}`); err == nil {
			t.Errorf("alice may call %s", method)
		}
	}
	must(t, call("Remove", `{"name":"`+other+`"}`))
	if _, err := os.Stat(root(other)); err == nil {
		t.Error("it is still there")
	}
}

// Cleaning tells of each image that it removes.
// removeHidden removes the hidden images that other tests have left: downloads
// that are kept, and what was there before a snapshot was restored.
func removeHidden(t *testing.T) {
	t.Helper()
	hidden, err := filepath.Glob(filepath.Join(guests, ".[^#]*"))
	must(t, err)
	for _, image := range hidden {
		observe(t, "chattr", "-i", image)
		must(t, os.RemoveAll(image))
	}
}

func TestNewVarlinkCleansThePool(t *testing.T) {
	removeHidden(t)
	hidden := []string{".vl-one", ".vl-two"}
	for _, name := range hidden {
		run(t, "cp", "-a", filepath.Join(guests, "tiny"), filepath.Join(guests, name))
		t.Cleanup(func() { os.RemoveAll(filepath.Join(guests, name)) })
	}
	clean := func() []varlinkReply {
		t.Helper()
		conn := dialVarlinkAt(t, "root", imageSocket)
		replies, err := conn.exchange(t, withMore(varlinkMessage(imageMethods+"CleanPool", `{"mode":"hidden"}`)))
		must(t, err)
		return replies
	}
	replies := clean()
	if got := fmt.Sprint(replies); len(replies) != 2 || !strings.Contains(got, hidden[0]) || !strings.Contains(got, hidden[1]) {
		t.Errorf("it says %s", got)
	}
	if again := clean(); len(again) != 1 || again[0].Error != imageMethods+"NoSuchImage" {
		t.Errorf("when nothing is left it says %v", again)
	}
	// The pool is a plain directory here, which has no limit.
	if _, err := varlinkCallAt(t, "root", imageSocket, imageMethods+"SetPoolLimit", `{"limit":100000000}`); err == nil ||
		err.Error() != imageMethods+"NotSupported" {
		t.Errorf("setting its limit: %v", err)
	}
}
