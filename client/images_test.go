package client_test

import (
	"testing"

	"github.com/machd/machd/client/internal/machine1test"
	"github.com/machd/machd/pkg/machine1"
)

func TestHasImage(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	w.AddImage(machine1test.Image{ListedImage: machine1.ListedImage{Name: "web"}})
	for name, want := range map[string]bool{"web": true, "nope": false} {
		if got, err := c.HasImage(t.Context(), name); got != want || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	w.Fail("GetImage", machine1test.Error("org.freedesktop.DBus.Error.AccessDenied", "Access denied"))
	if got, err := c.HasImage(t.Context(), "web"); got || err == nil {
		t.Errorf("a question that is refused is answered: %v, %v", got, err)
	}
}
