package nft

import (
	"fmt"
	"strings"
)

// Script returns the change as commands of nft, for somebody who wants to see it.
// What makes the tables is in it while they are not there.
func (t *Table) Script(remove, add Rules) (string, error) {
	oldInet, oldBridge, err := remove.places()
	if err != nil {
		return "", err
	}
	newInet, newBridge, err := add.places()
	if err != nil {
		return "", err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.inet.script(oldInet, newInet) + t.bridge.script(oldBridge, newBridge), nil
}

func (h *half) script(remove, add *elements) string {
	var b strings.Builder
	if !h.made && !add.empty() {
		b.WriteString(h.layout.String())
	}
	for _, s := range h.sets {
		if h.made {
			h.command(&b, "delete", s, remove.sets[s.name])
		}
		h.command(&b, "add", s, add.sets[s.name])
	}
	return b.String()
}

func (h *half) command(b *strings.Builder, verb string, s set, list []element) {
	var texts []string
	for _, x := range list {
		text := s.keyText(x)
		if x.data != "" && verb == "add" {
			text += " : " + s.dataText(x)
		}
		texts = append(texts, text)
	}
	if len(texts) > 0 {
		fmt.Fprintf(b, "%s element %s %s %s { %s }\n", verb, h.name, tableName, s.name, strings.Join(texts, ", "))
	}
}
