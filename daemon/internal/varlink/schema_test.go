package varlink

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var testFields = Fields{
	{Name: "name", Type: String, Valid: func(v any) bool { return v != "bad" }},
	{Name: "count", Type: Int, Nullable: true, Valid: func(v any) bool { return v.(int64) < 10 }},
	{Name: "flag", Type: Bool, Nullable: true},
	{Name: "class", Type: Enum("Class", "one", "two"), Nullable: true},
	{Name: "process", Type: Struct("Process",
		Field{Name: "pid", Type: Int},
		Field{Name: "boot", Type: String, Nullable: true}), Nullable: true},
	{Name: "list", Type: Array(Int), Nullable: true},
	{Name: "words", Type: Array(String), Nullable: true},
	{Name: "signal", Type: NamedInt(func(s string) (int64, bool) { return 9, s == "KILL" }), Nullable: true},
	{Name: "former", Type: Int, Nullable: true, Ignored: true},
	{Name: "ancient", Type: Struct("Ancient",
		Field{Name: "pid", Type: Int},
		Field{Name: "boot", Type: String, Nullable: true}), Nullable: true, Ignored: true},
	{Name: "level", Type: Int, Nullable: true, NullIsAbsent: true},
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ in, field string }{
		"a missing field":                    {`{}`, "name"},
		"null":                               {`{"name":null}`, "name"},
		"null where a field may be missing":  {`{"name":"a","count":null}`, "count"},
		"a number for a string":              {`{"name":5}`, "name"},
		"a string for a boolean":             {`{"name":"a","flag":"yes"}`, "flag"},
		"a number for a boolean":             {`{"name":"a","flag":1}`, "flag"},
		"a boolean for a number":             {`{"name":"a","count":true}`, "count"},
		"a fraction":                         {`{"name":"a","count":1.5}`, "count"},
		"a fraction in a string":             {`{"name":"a","count":"1.0"}`, "count"},
		"a word for a number":                {`{"name":"a","count":"one"}`, "count"},
		"no word for a number":               {`{"name":"a","count":""}`, "count"},
		"a number beyond 64 bits":            {`{"name":"a","count":9223372036854775808}`, "count"},
		"a huge number":                      {`{"name":"a","count":1e400}`, "count"},
		"an unknown value":                   {`{"name":"a","class":"three"}`, "class"},
		"the number of a value":              {`{"name":"a","class":1}`, "class"},
		"the empty value":                    {`{"name":"a","class":""}`, "class"},
		"a number for an object":             {`{"name":"a","process":1}`, "process"},
		"a list for an object":               {`{"name":"a","process":[]}`, "process"},
		"a field missing inside":             {`{"name":"a","process":{}}`, "process"},
		"null inside":                        {`{"name":"a","process":{"pid":1,"boot":null}}`, "process"},
		"an unknown field inside":            {`{"name":"a","process":{"pid":1,"x":1}}`, "process"},
		"a field twice inside":               {`{"name":"a","process":{"pid":1,"pid":1}}`, "process"},
		"an object for a list":               {`{"name":"a","list":{}}`, "list"},
		"a decimal string in a list":         {`{"name":"a","list":["1"]}`, "list"},
		"null in a list":                     {`{"name":"a","list":[null]}`, "list"},
		"a list in a list":                   {`{"name":"a","list":[[1]]}`, "list"},
		"a number in a list of words":        {`{"name":"a","words":["a",1]}`, "words"},
		"an unknown field":                   {`{"name":"a","bogus":1}`, "bogus"},
		"a field of another case":            {`{"name":"a","Name":"a"}`, "Name"},
		"a field twice":                      {`{"name":"a","name":"a"}`, "name"},
		"a fraction that is ignored":         {`{"name":"a","former":1.5}`, "former"},
		"an ignored object that is none":     {`{"name":"a","ancient":1}`, "ancient"},
		"an ignored object that lacks some":  {`{"name":"a","ancient":{"boot":"x"}}`, "ancient"},
		"an ignored object that has more":    {`{"name":"a","ancient":{"pid":1,"x":1}}`, "ancient"},
		"an ignored null that must not be":   {`{"name":"a","ancient":{"pid":null}}`, "ancient"},
		"an unknown name of a number":        {`{"name":"a","signal":"FOO"}`, "signal"},
		"a value out of range":               {`{"name":"a","count":10}`, "count"},
		"a missing field before an unknown":  {`{"bogus":1}`, "name"},
		"a wrong type before an unknown":     {`{"bogus":1,"name":5}`, "name"},
		"types in the order of the fields":   {`{"count":"x","name":5}`, "name"},
		"an unknown field before its values": {`{"name":"bad","bogus":1}`, "bogus"},
		"values in the order of the caller":  {`{"count":10,"name":"bad"}`, "count"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, err := parseObject([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			_, err = testFields.check(in)
			var refused *Error
			if !errors.As(err, &refused) {
				t.Fatalf("got %v, want an error about %q", err, tt.field)
			}
			if diff := cmp.Diff(InvalidParameter(tt.field), refused); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckAccepts(t *testing.T) {
	t.Parallel()
	in, err := parseObject([]byte(`{"list":[1,2.0,-3],"name":"a","count":"7","flag":true,"class":"two",
		"process":{"pid":"12"},"words":[],"signal":"KILL","former":"any word","ancient":{"pid":"any","boot":null},"level":null}`))
	if err != nil {
		t.Fatal(err)
	}
	o, err := testFields.check(in)
	if err != nil {
		t.Fatal(err)
	}
	type values struct {
		Name, Class        string
		Count, PID, Signal int64
		Flag               bool
		List, Words        []any
		Boot, Former       bool
		Ancient, Level     bool
	}
	got := values{
		o.String("name"), o.String("class"), o.Int("count"), o.Object("process").Int("pid"), o.Int("signal"),
		o.Bool("flag"), o.Array("list"), o.Array("words"), o.Object("process").Has("boot"), o.Has("former"),
		o.Has("ancient"), o.Has("level"),
	}
	want := values{"a", "two", 7, 12, 9, true, []any{int64(1), int64(2), int64(-3)}, []any{}, false, false, false, false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if o.Object("nothing").Int("pid") != 0 {
		t.Error("a missing object has values")
	}
}

func TestDescription(t *testing.T) {
	t.Parallel()
	type none struct{}
	process := Struct("Process", Field{Name: "pid", Type: Int}, Field{Name: "kind", Type: Enum("Kind", "a", "b"), Nullable: true})
	answer := Struct("Answer", Field{Name: "of", Type: process})
	i := Interface[none]{
		Name:  "org.example.X",
		Doc:   "Numbers of things",
		Types: []*Type{answer},
		Methods: []Method[none]{
			{Name: "Plain"},
			{
				Name: "Find", Doc: "Finds one", More: Streams,
				In:  Fields{{Name: "process", Type: process, Nullable: true}, {Name: "words", Type: Array(String)}},
				Out: Fields{{Name: "all", Type: Array(process), Nullable: true}, {Name: "ok", Type: answer}},
			},
		},
		Errors: []ErrorType{{Name: "No"}, {Name: "Never", Doc: "Not at all", Fields: Fields{{Name: "why", Type: String}}}},
	}
	const want = `# Numbers of things
interface org.example.X

type Kind(
	a,
	b
)

type Answer(
	of: Process
)

type Process(
	pid: int,
	kind: ?Kind
)

method Plain() -> ()

# Finds one
# [Supports 'more' flag]
method Find(
	process: ?Process,
	words: []string
) -> (
	all: ?[]Process,
	ok: Answer
)

error No()

# Not at all
error Never(
	why: string
)
`
	if diff := cmp.Diff(want, i.Description()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestIntegersAndTheirForms(t *testing.T) {
	t.Parallel()
	fields := Fields{
		{Name: "exact", Type: ExactInt, Nullable: true},
		{Name: "uint", Type: Uint, Nullable: true},
		{Name: "refused", Type: Array(String), Nullable: true, Refused: true},
	}
	for name, tt := range map[string]struct {
		in, want string // want is the field that is invalid
	}{
		"an exact integer":           {`{"exact":5}`, ""},
		"an exact integer as a text": {`{"exact":"5"}`, "exact"},
		"the largest":                {`{"uint":18446744073709551615}`, ""},
		"the largest as a text":      {`{"uint":"18446744073709551615"}`, ""},
		"one more":                   {`{"uint":18446744073709551616}`, "uint"},
		"less than nothing":          {`{"uint":-1}`, "uint"},
		"a float":                    {`{"uint":1e3}`, ""},
		"a fraction":                 {`{"uint":1.5}`, "uint"},
		"no number":                  {`{"uint":"x"}`, "uint"},
		"a boolean":                  {`{"uint":true}`, "uint"},
		"a field only described":     {`{"refused":[]}`, "refused"},
		"nothing":                    {`{}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, err := parseObject([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if _, err := fields.check(in); err != nil {
				got = err.(*Error).Parameters.(invalidParameter).Parameter
			}
			if got != tt.want {
				t.Errorf("%s is invalid, want %s", got, tt.want)
			}
		})
	}
}
