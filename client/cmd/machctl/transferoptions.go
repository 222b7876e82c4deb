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
	o.addShortFlags(f)
}

// shortClass has a letter stand for a class, or for another option's value.
//
// Reference: importctl(1).
func shortClass(f *pflag.FlagSet, name, letter, same string, set func()) {
	flag := f.VarPF(setter(set), name, letter, "The same as "+same)
	flag.NoOptDefVal, flag.Hidden = "yes", true
}

func (o *transferOptions) addShortFlags(f *pflag.FlagSet) {
	shortClass(f, "m", "m", "--class=machine", func() { o.class = classFlag(client.ClassMachine) })
	shortClass(f, "S", "S", "--class=sysext", func() { o.class = classFlag(client.ClassSysext) })
	shortClass(f, "C", "C", "--class=confext", func() { o.class = classFlag(client.ClassConfext) })
	shortClass(f, "N", "N", "--keep-download=no", func() { o.keepDownload = "no" })
}

// portable gives a verb the -P of importctl, which is --print before it and to
// other verbs.
func (a *app) portable(cmd *cobra.Command) {
	shortClass(cmd.Flags(), "print", "P", "--class=portable", func() { a.class = classFlag(client.ClassPortable) })
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

// choicesWanted has an option say what it may be.
const choicesWanted = "help"

func (c *choiceFlag) Set(text string) error {
	if !slices.Contains(c.choices, text) && text != choicesWanted {
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
