package launch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/nspawnfile"
)

// isOurs are the properties that starting a machine depends on.
var isOurs = words(`
	AddRef BusName CollectMode Delegate DelegateControllers DelegateSubgroup ExecStart ExecStartEx ExitType GuessMainPID
	NotifyAccess PIDFile RemainAfterExit Slice Transient Type`)

// assign sets a property as an assignment in a unit file would, such as
// MemoryHigh=1G. Lists grow, and are emptied by an empty value. The type is
// that of the property in like, which are those of a unit as PID 1 tells them.
func (p properties) assign(assignment string, like map[string]dbus.Variant) error {
	key, text, ok := strings.Cut(assignment, "=")
	if !ok || key == "" {
		return machine1.Errorf(machine1.ErrInvalidArgs, "Property '%s' is not NAME=VALUE, as in a unit file", assignment)
	}
	if isOurs[key] {
		return machine1.Errorf(machine1.ErrInvalidArgs, "Property '%s' is not for 'property' to set: a machine depends on it", key)
	}
	err := p.assignValue(key, text, like)
	if err != nil {
		return machine1.Errorf(machine1.ErrInvalidArgs, "Cannot set property '%s' to '%s': %v", key, text, err)
	}
	return nil
}

func (p properties) assignValue(key, text string, like map[string]dbus.Variant) error {
	switch {
	case key == "CPUQuota":
		return p.assignCPUQuota(text)
	case strings.HasPrefix(key, "Limit"):
		return p.assignRlimit(key, text, like)
	case strings.HasPrefix(key, "Condition"), strings.HasPrefix(key, "Assert"):
		return p.assignCondition(key, text)
	}
	if scaled := slices.Contains([]string{"TasksMax", "MemoryMax", "MemoryHigh", "MemoryMin", "MemoryLow", "MemorySwapMax"}, key); scaled {
		scale, ok, err := parsePercent(text)
		if err != nil {
			return err
		}
		if ok {
			delete(p, key)
			p.set(key+"Scale", scale)
			return nil
		}
		delete(p, key+"Scale")
	}
	name := propertyOf(key, like)
	if structures[name] != "" {
		return p.assignStructure(name, text)
	}
	shown, known := like[name]
	if !known || !isPlain[name] {
		return fmt.Errorf("there is no such property, or only a drop-in of the unit can set it")
	}
	return p.assignPlain(name, text, shown.Value())
}

// propertyOf returns what PID 1 calls the setting of a unit file.
func propertyOf(key string, like map[string]dbus.Variant) string {
	if key == "EnvironmentFile" {
		return "EnvironmentFiles"
	}
	if stem, ok := strings.CutSuffix(key, "Sec"); ok {
		return stem + "USec"
	}
	if strings.HasPrefix(key, "Exec") && structures[key+"Ex"] != "" {
		return key + "Ex"
	}
	return key
}

func (p properties) assignPlain(name, text string, like any) error {
	var value any
	var err error
	switch like.(type) {
	case bool:
		value, err = nspawnfile.ParseBool(text)
	case string:
		value = text
	case []string:
		return p.assignList(name, text)
	case []byte:
		value, err = parseCPUs(text)
	case uint64:
		value, err = parseLong(name, text)
	case uint32:
		value, err = parseShort(name, text)
	case int32:
		value, err = parseSigned(name, text)
	default:
		err = fmt.Errorf("only a drop-in of the unit can set it")
	}
	if err != nil {
		return err
	}
	p.set(name, value)
	return nil
}

func (p properties) assignList(name, text string) error {
	list, err := splitWords(text)
	switch {
	case err != nil:
		return err
	case len(list) == 0:
		p.set(name, []string{})
	case name == "Environment":
		p.setEnvironment(list)
	default:
		p.add(name, list...)
	}
	return nil
}

// setEnvironment has the later of two values of a variable win.
func (p properties) setEnvironment(list []string) {
	var kept []string
	for _, old := range p.strings("Environment") {
		name, _, _ := strings.Cut(old, "=")
		if !slices.ContainsFunc(list, func(e string) bool { return strings.HasPrefix(e, name+"=") }) {
			kept = append(kept, old)
		}
	}
	p.set("Environment", append(kept, list...))
}

func parseLong(name, text string) (uint64, error) {
	switch {
	case strings.HasSuffix(name, "USec"):
		return parseTime(text)
	case strings.HasPrefix(name, "Memory"):
		return parseSize(text)
	}
	return parseCount(text)
}

func parseShort(name, text string) (uint32, error) {
	base := 10
	if name == "UMask" || strings.HasSuffix(name, "Mode") {
		base = 8
	}
	n, err := strconv.ParseUint(text, base, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", text)
	}
	return uint32(n), nil
}

func parseSigned(name, text string) (int32, error) {
	if strings.HasSuffix(name, "Signal") {
		return parseSignal(text)
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", text)
	}
	return int32(n), nil
}

// parseCPUs reads a set of numbers such as 0-3,6 as bits.
func parseCPUs(text string) ([]byte, error) {
	bits := []byte{}
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		low, high, isRange := strings.Cut(part, "-")
		first, err := strconv.ParseUint(low, 10, 13)
		last := first
		if err == nil && isRange {
			last, err = strconv.ParseUint(high, 10, 13)
		}
		if err != nil || last < first {
			return nil, fmt.Errorf("%q is no set of numbers, as 0-3,6 is", text)
		}
		for n := first; n <= last; n++ {
			for uint64(len(bits)) <= n/8 {
				bits = append(bits, 0)
			}
			bits[n/8] |= 1 << (n % 8)
		}
	}
	return bits, nil
}

func (p properties) assignCPUQuota(text string) error {
	const property = "CPUQuotaPerSecUSec"
	if text == "" || text == "infinity" {
		p.set(property, uint64(infinity))
		return nil
	}
	number, ok := strings.CutSuffix(text, "%")
	percent, err := parseDecimal(number)
	if !ok || err != nil || percent < 1 {
		return fmt.Errorf("%q is no percentage from 1%%, which is of one processor", text)
	}
	p.set(property, uint64(percent*10_000))
	return nil
}

// assignRlimit sets a limit of a process, of which there are a soft and a hard
// one.
func (p properties) assignRlimit(name, text string, like map[string]dbus.Variant) error {
	if _, known := like[name]; !known || strings.HasSuffix(name, "Soft") {
		return fmt.Errorf("there is no such limit")
	}
	soft, hard, both := strings.Cut(text, ":")
	if !both {
		hard = soft
	}
	for name, text := range map[string]string{name: hard, name + "Soft": soft} {
		n, err := parseSize(text)
		if err != nil {
			return err
		}
		p.set(name, n)
	}
	return nil
}
