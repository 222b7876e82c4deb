package varlink

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"
	"time"
	"unicode/utf8"
)

// However the bytes are cut into writes, the reader finds the same messages.
func FuzzFrameReader(f *testing.F) {
	f.Add([]byte("a\x00bc\x00"), uint8(1))
	f.Add([]byte("\x00\x00"), uint8(2))
	f.Add([]byte("half"), uint8(3))
	f.Add(append(bytes.Repeat([]byte("x"), 3*readBuffer), 0, 'y', 0), uint8(200))
	f.Fuzz(func(t *testing.T, data []byte, piece uint8) {
		near, far := socketPair(t)
		defer near.Close()
		go func() {
			defer far.Close()
			for rest := data; len(rest) > 0; {
				n := min(int(piece)+1, len(rest))
				if _, err := far.Write(rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
			}
		}()

		reserved := 0
		r := newFrameReader(near, time.Minute, func(n int) bool { reserved += n; return true })
		want := bytes.Split(data, []byte{0})
		for _, frame := range want[:len(want)-1] {
			got, err := r.next(t.Context())
			if err != nil || !bytes.Equal(got, frame) {
				t.Fatalf("got %q, %v, want %q", got, err, frame)
			}
		}
		end := io.EOF
		if len(want[len(want)-1]) > 0 {
			end = io.ErrUnexpectedEOF
		}
		if _, err := r.next(t.Context()); err != end {
			t.Fatalf("got %v, want %v", err, end)
		}
		if r.close(); reserved != 0 {
			t.Fatalf("%d bytes of buffer are still counted", reserved)
		}
	})
}

func FuzzMessage(f *testing.F) {
	for _, seed := range []string{
		sayA,
		`{"method":"a.B","parameters":{"name":"a","count":"7","process":{"pid":1},"list":[1,2.0]},"more":true}`,
		`{"method":"a.B","oneway":true,"parameters":null}`,
		`{"method":"a.B","parameters":{"name":"\ud800","words":["\u0000"]}}`,
		`[{}]`, `{"a":1,"a":2}`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		m, err := parseMessage(frame)
		if err != nil {
			return
		}
		if !json.Valid(frame) || !utf8.Valid(frame) || m.more && m.oneway {
			t.Fatalf("%q was accepted", frame)
		}
		o, err := testFields.check(m.parameters)
		if err != nil {
			if _, ok := err.(*Error); !ok {
				t.Fatalf("%v is no InvalidParameter", err)
			}
			return
		}
		// The accessors must agree with what was checked.
		for _, field := range testFields {
			if !field.Nullable && !o.Has(field.Name) {
				t.Fatalf("%s is missing", field.Name)
			}
		}
		o.String("name")
		o.Int("count")
		o.Bool("flag")
		o.String("class")
		o.Object("process").Int("pid")
		for _, e := range o.Array("list") {
			_ = e.(int64)
		}
		for _, e := range o.Array("words") {
			_ = e.(string)
		}
	})
}
