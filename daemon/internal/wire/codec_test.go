package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

type pairOf struct {
	Name string
	N    uint64
}

type nested struct {
	B    byte
	List []pairOf
	Map  map[string][]int32
	V    dbus.Variant
}

// compareSignatures lets cmp look into godbus's types.
var compareSignatures = cmp.AllowUnexported(dbus.Variant{}, dbus.Signature{})

var values = []any{
	byte(7), true, false, int16(-2), uint16(65535), int32(math.MinInt32), uint32(math.MaxUint32),
	int64(math.MinInt64), uint64(math.MaxUint64), 3.5, "", "text äöü", dbus.ObjectPath("/a/b_1"),
	dbus.ParseSignatureMust("a{sv}"), dbus.MakeVariant("x"), dbus.MakeVariant(dbus.MakeVariant(uint64(1))),
	[]byte{1, 2, 3}, []string{"a", "", "ccc"}, [][]string{{"a"}, {"b", "c"}},
	[]pairOf{{"one", 1}, {"two", 2}}, map[string]string{"k": "v", "l": "w"}, map[uint32]pairOf{7: {"x", 1}},
	[]dbus.Variant{dbus.MakeVariant(byte(1)), dbus.MakeVariant([]string{"x"}), dbus.MakeVariant([]pairOf(nil))},
	nested{1, []pairOf{{"x", 2}}, map[string][]int32{"a": {1, -1}}, dbus.MakeVariant(int16(4))},
}

func TestValuesAreReadAsGodbusWritesThem(t *testing.T) {
	t.Parallel()
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, want := range values {
			got, err := decodeAs(t, receive(t, marshal(t, order, want)), reflect.TypeOf(want))
			if err != nil {
				t.Errorf("%v %T: %v", order, want, err)
			}
			// A struct in a variant is of another Go type, so look at its text.
			if _, ok := want.([]dbus.Variant); ok {
				got, want = dbus.MakeVariant(got).String(), dbus.MakeVariant(want).String()
			}
			if diff := cmp.Diff(want, got, compareSignatures); diff != "" {
				t.Errorf("%v %T: %s", order, want, diff)
			}
		}
	}
}

func TestValuesAreWrittenAsGodbusWritesThem(t *testing.T) {
	t.Parallel()
	for _, value := range values {
		if m := reflect.ValueOf(value); m.Kind() == reflect.Map && m.Len() > 1 {
			continue // godbus has no order
		}
		c, err := CodecOf(reflect.TypeOf(value))
		if err != nil {
			t.Errorf("%T: %v", value, err)
			continue
		}
		var e Encoder
		c.Encode(&e, reflect.ValueOf(value))
		if err := e.Err(); err != nil {
			t.Errorf("%T: %v", value, err)
		}
		want := receive(t, marshal(t, binary.LittleEndian, value)).Body
		if !bytes.Equal(e.Bytes(), want) {
			t.Errorf("%T: got %x, want %x", value, e.Bytes(), want)
		}
	}
}

func TestAVariantIsPassedOnByGodbusUnchanged(t *testing.T) {
	t.Parallel()
	for _, value := range []any{
		[]pairOf{{"a", 1}}, []struct{ A, B string }{{"x", "rw"}}, []struct {
			Family int32
			Bytes  []byte
			Prefix uint32
		}{{2, []byte{10, 0, 0, 0}, 8}}, map[string]dbus.Variant{"x": dbus.MakeVariant(pairOf{"y", 3})}, []byte(nil),
	} {
		before := receive(t, marshal(t, binary.LittleEndian, dbus.MakeVariant(value)))
		got, err := decodeAs(t, before, variantType)
		if err != nil {
			t.Fatal(err)
		}
		after := receive(t, marshal(t, binary.LittleEndian, got))
		if !bytes.Equal(before.Body, after.Body) {
			t.Errorf("%T: got %x, want %x", value, after.Body, before.Body)
		}
	}
}

func TestTypesWithoutAnExactCounterpartAreRefused(t *testing.T) {
	t.Parallel()
	type hidden struct{ a int32 }
	type recursive struct{ Children []recursive }
	for _, value := range []any{
		1, uint(1), int8(1), float32(1), complex(1, 1), new(string), struct{}{}, hidden{1}, []any{1}, map[[2]byte]string{},
		map[dbus.Variant]string{}, [3]byte{}, func() {}, make(chan int), recursive{}, errors.New("x"),
	} {
		if c, err := CodecOf(reflect.TypeOf(value)); err == nil {
			t.Errorf("%T has the signature %q", value, c.Signature())
		}
	}
}

func TestWhatABusWouldRefuseIsNotSent(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		value any
		limit bool
	}{
		{"a string that is not UTF-8", "\xff", false},
		{"a string with a zero byte", "a\x00b", false},
		{"an object path that is none", dbus.ObjectPath("x"), false},
		{"a descriptor that is none", dbus.UnixFD(-1), false},
		{"an empty variant", dbus.Variant{}, false},
		{"a variant of a Go type that has no D-Bus type", dbus.MakeVariantWithSignature([]any{1}, dbus.ParseSignatureMust("(i)")), false},
		{"a variant whose signature is another one", dbus.MakeVariantWithSignature("x", dbus.ParseSignatureMust("u")), false},
		{"a string that is too long", strings.Repeat("x", MaxReply+1), true},
		{"bytes that are too many", make([]byte, MaxReply+1), true},
		{"a list that is too long", make([]uint64, MaxReply/8+1), true},
		{"more descriptors than a bus takes", []dbus.UnixFD{
			1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 1015, 1016,
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := CodecOf(reflect.TypeOf(tt.value))
			if err != nil {
				t.Fatal(err)
			}
			var e Encoder
			c.Encode(&e, reflect.ValueOf(tt.value))
			if err := e.Err(); err == nil || errors.Is(err, ErrLimit) != tt.limit {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestDescriptorsAreCollectedInSpiteOfAnError(t *testing.T) {
	t.Parallel()
	type mixed struct {
		Text string
		FDs  []dbus.UnixFD
	}
	c, err := CodecOf(reflect.TypeFor[[]mixed]())
	if err != nil {
		t.Fatal(err)
	}
	var e Encoder
	c.Encode(&e, reflect.ValueOf([]mixed{{"\xff", []dbus.UnixFD{10, 11}}, {"", []dbus.UnixFD{11, 12}}}))
	if e.Err() == nil {
		t.Error("no error")
	}
	if diff := cmp.Diff([]int{10, 11, 12}, e.FDs()); diff != "" {
		t.Error(diff)
	}
}

func TestMalformedBodiesAreRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		into any
		body string
	}{
		{"an integer that is cut", uint32(0), "\x01\x00\x00"},
		{"something behind the value", byte(0), "\x01\x00"},
		{"a boolean that is neither", false, "\x02\x00\x00\x00"},
		{"a string that is longer than the body", "", "\xff\xff\xff\xff"},
		{"a string that has no end", "", "\x01\x00\x00\x00xy"},
		{"a string that is not UTF-8", "", "\x01\x00\x00\x00\xff\x00"},
		{"a string with a zero byte", "", "\x02\x00\x00\x00\x00x\x00"},
		{"a path that is none", dbus.ObjectPath(""), "\x01\x00\x00\x00x\x00"},
		{"a signature that is none", dbus.Signature{}, "\x01(\x00"},
		{"a descriptor that did not come", dbus.UnixFD(0), "\x00\x00\x00\x00"},
		{"an array that is longer than the body", []byte(nil), "\x02\x00\x00\x00x"},
		{"an array that ends in an element", []uint32(nil), "\x05\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00"},
		{"a variant without a type", dbus.Variant{}, "\x00\x00"},
		{"a variant of two types", dbus.Variant{}, "\x02ss\x00"},
		{"a variant of a type that is none", dbus.Variant{}, "\x01!\x00"},
		{"a dictionary that is cut", map[string]byte{}, "\x09\x00\x00\x00\x00\x00\x00\x00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := CodecOf(reflect.TypeOf(tt.into))
			if err != nil {
				t.Fatal(err)
			}
			m := &Message{Body: []byte(tt.body), Header: Header{Signature: c.Signature()}}
			if got, err := decodeAs(t, m, reflect.TypeOf(tt.into)); err == nil {
				t.Errorf("got %#v", got)
			}
		})
	}
}

func TestWhatABodyBecomesIsBounded(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		into reflect.Type
		body func() []byte
	}{
		{"many tiny variants", reflect.TypeFor[[]dbus.Variant](), func() []byte {
			return arrayOf(strings.Repeat("\x01y\x00\x07", MaxBody/4-1))
		}},
		{"variants in variants", variantType, func() []byte {
			return []byte(strings.Repeat("\x01v\x00", maxDepth+1) + "\x01y\x00\x07")
		}},
		{"an unusual type that is long", variantType, func() []byte {
			sig := "(" + strings.Repeat("s", maxShapeSignature) + ")"
			return append([]byte{byte(len(sig))}, sig+"\x00"+strings.Repeat("\x00", 600)...)
		}},
		{"a dictionary that godbus cannot pass on", variantType, func() []byte {
			return []byte("\x05a{gs}\x00\x00\x00\x00\x00")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := CodecOf(tt.into)
			if err != nil {
				t.Fatal(err)
			}
			m := &Message{Body: tt.body(), Header: Header{Signature: c.Signature()}}
			if _, err := decodeAs(t, m, tt.into); !errors.Is(err, ErrLimit) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func arrayOf(elements string) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(elements))), elements...)
}

func TestVariantsOfEveryKnownTypeAreAlwaysTaken(t *testing.T) {
	for i := range maxShapes + 10 {
		sig := "(" + strings.Repeat("y", i%30+1) + strings.Repeat("u", i/30+1) + ")"
		body := append([]byte{byte(len(sig))}, sig+"\x00"+strings.Repeat("\x00", 600)...)
		var d Decoder
		d.Reset(&Message{Body: body})
		v := reflect.New(variantType).Elem()
		decodeVariant(&d, v)
		if wantErr := i >= maxShapes; (d.Err() != nil) != wantErr {
			t.Fatalf("type %d: %v", i, d.Err())
		}
	}
	for _, sig := range knownShapes {
		if _, err := shapeOf([]byte(sig)); err != nil {
			t.Errorf("%s: %v", sig, err)
		}
	}
}
