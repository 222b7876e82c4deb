package wire

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/godbus/dbus/v5"
)

type encodedRow struct {
	Name string
	Size uint64
}

func TestEncodedIsTheSameOnTheWire(t *testing.T) {
	t.Parallel()
	rows := []encodedRow{{"a", 1}, {"bcdefgh", 2}}
	ready, err := Encode(rows)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := CodecOf(reflect.TypeFor[[]encodedRow]())
	if err != nil {
		t.Fatal(err)
	}
	codec, err := CodecOf(reflect.TypeOf(ready))
	if err != nil {
		t.Fatal(err)
	}
	if codec.Signature() != plain.Signature() {
		t.Errorf("its type is %q, want %q", codec.Signature(), plain.Signature())
	}
	var want, got Encoder
	plain.Encode(&want, reflect.ValueOf(rows))
	codec.Encode(&got, reflect.ValueOf(ready))
	if got.Err() != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("got %x, %v, want %x", got.Bytes(), got.Err(), want.Bytes())
	}
	got.Uint32(1) // its padding would not fit here
	if codec.Encode(&got, reflect.ValueOf(ready)); got.Err() == nil {
		t.Error("it was put behind something else")
	}
}

func TestEncodedHasNoDescriptors(t *testing.T) {
	t.Parallel()
	if _, err := Encode([]dbus.UnixFD{1}); err == nil {
		t.Error("descriptors can be sent only once")
	}
	if _, err := CodecOf(reflect.TypeFor[Encoded[dbus.Variant]]()); err == nil {
		t.Error("a variant may hold a descriptor")
	}
	var nothing Encoded[string]
	codec, err := CodecOf(reflect.TypeOf(nothing))
	if err != nil {
		t.Fatal(err)
	}
	var e Encoder
	if codec.Encode(&e, reflect.ValueOf(nothing)); e.Err() == nil {
		t.Error("what was never encoded has been sent")
	}
}
