package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/machd/machd/client"
)

// transferOptions say what is done about images that come or go.
type transferOptions struct {
	class        classFlag
	verify       choiceFlag
	keepDownload boolFlag
}

func (o *transferOptions) addTransferFlags(f *pflag.FlagSet) {
	o.verify.choices = []string{string(client.VerifyNothing), string(client.VerifyChecksum), string(client.VerifySignature)}
	f.Var(&o.class, "class", "What the image is for: machine, portable, sysext or confext as `CLASS`")
	f.Var(&o.verify, "verify", "Check a download by signature, by checksum or not at all, as `HOW`: no")
	f.Var(&o.keepDownload, "keep-download", "Keep what was downloaded for the next time: yes or no as `BOOL`")
}

// shortClasses are the letters that stand for classes.
//
// Reference: importctl(1).
var shortClasses = []struct {
	name, letter string
	class        client.ImageClass
}{
	{"m", "m", client.ClassMachine},
	{"print", "P", client.ClassPortable}, // elsewhere -P is --print
	{"S", "S", client.ClassSysext},
	{"C", "C", client.ClassConfext},
}

// shortTransferOptions gives a verb the letters of importctl. They mean
// something else to other verbs, or will.
func (a *app) shortTransferOptions(cmd *cobra.Command) {
	for _, s := range shortClasses {
		f := cmd.Flags().VarPF(setter(func() { a.class = classFlag(s.class) }), s.name, s.letter, "The same as --class="+string(s.class))
		f.NoOptDefVal, f.Hidden = "yes", true
	}
	f := cmd.Flags().VarPF(setter(func() { a.keepDownload = "no" }), "N", "N", "The same as --keep-download=no")
	f.NoOptDefVal, f.Hidden = "yes", true
}

// A setter is an option without a value.
type setter func()

func (s setter) Set(string) error { s(); return nil }
func (s setter) String() string   { return "" }
func (s setter) Type() string     { return "bool" }

// classFlag is the value of --class, "" if it was not given.
type classFlag client.ImageClass

func (c *classFlag) Set(text string) error {
	if !slices.Contains(client.ImageClasses, client.ImageClass(text)) {
		return fmt.Errorf("it is one of %s", classNames())
	}
	*c = classFlag(text)
	return nil
}

func (c *classFlag) String() string { return string(*c) }
func (c *classFlag) Type() string   { return "CLASS" }

func classNames() string {
	names := make([]string, len(client.ImageClasses))
	for i, class := range client.ImageClasses {
		names[i] = string(class)
	}
	return strings.Join(names, ", ")
}

func (o *transferOptions) imageClass() client.ImageClass {
	if o.class == "" {
		return client.ClassMachine
	}
	return client.ImageClass(o.class)
}

// keepsDownload says what is done if nothing is said.
//
// Reference: importctl.c, parse_argv: only downloads of machines are kept.
func (o *transferOptions) keepsDownload() bool {
	if o.keepDownload == "" {
		return o.imageClass() == client.ClassMachine
	}
	return o.keepDownload == "yes"
}

// A choiceFlag is one of several words, "" if it was not given.
type choiceFlag struct {
	value   string
	choices []string
}

func (c *choiceFlag) Set(text string) error {
	if !slices.Contains(c.choices, text) {
		return fmt.Errorf("it is one of %s", strings.Join(c.choices, ", "))
	}
	c.value = text
	return nil
}

func (c *choiceFlag) String() string { return c.value }
func (c *choiceFlag) Type() string   { return "HOW" }

// A boolFlag is yes, no, or "" if it was not given.
type boolFlag string

func (b *boolFlag) Set(text string) error {
	value, err := parseBool(text)
	if err != nil {
		return err
	}
	*b = boolFlag(yesOrNo(value))
	return nil
}

func (b *boolFlag) String() string { return string(*b) }
func (b *boolFlag) Type() string   { return "BOOL" }
