package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"
)

// An object is a JSON object whose keys keep their order.
type object []field

type field struct {
	key   string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, f := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		for j, part := range []any{f.key, f.value} {
			if j > 0 {
				b.WriteByte(':')
			}
			if err := encoder.Encode(part); err != nil {
				return nil, err
			}
			b.Truncate(b.Len() - 1) // the newline
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func (o object) keys() []string {
	keys := make([]string, len(o))
	for i, f := range o {
		keys[i] = f.key
	}
	return keys
}

// values is o for a template, where nothing is better than "<no value>".
func (o object) values() map[string]any {
	values := make(map[string]any, len(o))
	for _, f := range o {
		if f.value == nil {
			f.value = ""
		}
		values[f.key] = f.value
	}
	return values
}

// jsonValue is a column's value in JSON: times are RFC 3339, lengths of time
// seconds, what is unknown is null, and a list is never null.
func jsonValue(value any) any {
	switch v := value.(type) {
	case string:
		if v == "" {
			return nil
		}
	case time.Time:
		if v.IsZero() {
			return nil
		}
		return v.Local().Format(time.RFC3339Nano)
	case time.Duration:
		return v.Seconds()
	case []string:
		if v == nil {
			return []string{}
		}
	}
	return value
}

// encodeJSON writes value in the framing that the options ask for.
//
// Reference: json-util.c, sd_json_variant_dump: SEQ and SSE.
func (a *app) encodeJSON(value any) (string, error) {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if a.prettyJSON() {
		encoder.SetIndent("", "\t")
	}
	if err := encoder.Encode(value); err != nil {
		return "", fmt.Errorf("cannot write JSON: %w", err)
	}
	if a.stockJSON() && a.prettyJSON() {
		return keyOfLine().ReplaceAllString(b.String(), "$1 :"), nil
	}
	switch a.output {
	case "json-seq":
		return "\x1e" + b.String(), nil
	case "json-sse":
		return "data: " + b.String() + "\n", nil
	}
	return b.String(), nil
}

// printJSON prints a value as JSON.
func (a *app) printJSON(value any) error {
	text, err := a.encodeJSON(value)
	if err == nil {
		a.ui.print(text)
	}
	return err
}

// orNull is text in JSON, where there is none if it is empty.
func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// keyOfLine is the key that a line of pretty JSON begins with: systemd's commands
// have a blank behind it.
var keyOfLine = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^(\t*"(?:[^"\\]|\\.)*"):`)
})
