package varlink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxDepth is far more than any interface nests.
const maxDepth = 64

// members is a JSON object as it was written: in order, duplicates included.
type members []member

type member struct {
	name  string
	value any // nil, bool, string, json.Number, []any or members
}

// parseObject reads one JSON object, and nothing after it. It is stricter than
// encoding/json: the text must be UTF-8, and no string may hold a NUL, which
// would end it early for whoever reads it as a C string.
func parseObject(text []byte) (members, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("not UTF-8")
	}
	if !json.Valid(text) {
		return nil, errors.New("not JSON")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := parseValue(d, maxDepth)
	if err != nil {
		return nil, err
	}
	o, ok := v.(members)
	if !ok {
		return nil, errors.New("not an object")
	}
	return o, nil
}

func parseValue(d *json.Decoder, depth int) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token := token.(type) {
	case json.Delim:
		if depth == 0 {
			return nil, errors.New("nested too deeply")
		}
		if token == '{' {
			return parseMembers(d, depth-1)
		}
		return parseArray(d, depth-1)
	case string:
		return token, checkString(token)
	default:
		return token, nil
	}
}

func parseMembers(d *json.Decoder, depth int) (members, error) {
	o := members{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, ok := token.(string)
		if !ok {
			return nil, fmt.Errorf("%v is no name", token)
		}
		if err := checkString(name); err != nil {
			return nil, err
		}
		v, err := parseValue(d, depth)
		if err != nil {
			return nil, err
		}
		o = append(o, member{name, v})
	}
	_, err := d.Token()
	return o, err
}

func parseArray(d *json.Decoder, depth int) ([]any, error) {
	a := []any{}
	for d.More() {
		v, err := parseValue(d, depth)
		if err != nil {
			return nil, err
		}
		a = append(a, v)
	}
	_, err := d.Token()
	return a, err
}

func checkString(s string) error {
	if strings.Contains(s, "\x00") {
		return errors.New("NUL in a string")
	}
	return nil
}

// A message is what a caller sends.
type message struct {
	method     string
	parameters members
	more       bool
	oneway     bool
	upgrade    bool // nothing here can be: the call is answered like any other
}

// parseMessage reads a call. Whoever sends anything else cannot be answered.
//
// Reference: sd-varlink.c, varlink_dispatch_method.
func parseMessage(frame []byte) (message, error) {
	var m message
	o, err := parseObject(frame)
	if err != nil {
		return m, err
	}
	seen := map[string]bool{}
	for _, key := range o {
		if seen[key.name] {
			return m, fmt.Errorf("%q twice", key.name)
		}
		seen[key.name] = true
		if err := m.set(key); err != nil {
			return m, err
		}
	}
	if !seen["method"] {
		return m, errors.New("no method")
	}
	if m.more && m.oneway || m.upgrade && (m.more || m.oneway) {
		return m, errors.New("more, oneway or upgrade in one call")
	}
	return m, nil
}

func (m *message) set(key member) error {
	ok := false
	switch key.name {
	case "method":
		m.method, ok = key.value.(string)
	case "parameters":
		m.parameters, ok = key.value.(members)
		ok = ok || key.value == nil
	case "more":
		m.more, ok = key.value.(bool)
	case "oneway":
		m.oneway, ok = key.value.(bool)
	case "upgrade":
		m.upgrade, ok = key.value.(bool)
	}
	if !ok {
		return fmt.Errorf("unexpected %q", key.name)
	}
	return nil
}

// A reply is what goes back. Parameters are always sent, if only as an empty
// object: clients of systemd 257 and before expect them.
type reply struct {
	Error      string `json:"error,omitempty"`
	Parameters any    `json:"parameters"`
	Continues  bool   `json:"continues,omitempty"`
}

// encode returns r as a frame, terminator included.
func (r reply) encode() ([]byte, error) {
	if r.Parameters == nil {
		r.Parameters = struct{}{}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return nil, fmt.Errorf("cannot encode reply: %w", err)
	}
	frame := bytes.TrimRight(b.Bytes(), "\n")
	return append(frame, 0), nil
}
