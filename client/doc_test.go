package client_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/machd/machd/pkg/machine1"
)

// documented are the packages that programs of others import.
var documented = []string{".", "../pkg/machine1", "../pkg/machd", "../pkg/nspawnfile", "../pkg/bus"}

// parseDir returns the files of a package, without its tests.
func parseDir(t *testing.T, dir string) (files []*ast.File) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

func TestEveryExportedNameIsDocumented(t *testing.T) {
	t.Parallel()
	for _, dir := range documented {
		files := parseDir(t, dir)
		if !slices.ContainsFunc(files, func(f *ast.File) bool { return strings.HasPrefix(f.Doc.Text(), "Package ") }) {
			t.Errorf("%s says nothing about the package", dir)
		}
		for _, f := range files {
			for _, d := range f.Decls {
				for _, name := range undocumented(d) {
					t.Errorf("%s: %s has no comment that is about it", dir, name)
				}
			}
		}
	}
}

// undocumented returns the exported names of a declaration that no comment is
// about.
func undocumented(d ast.Decl) (names []string) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && ofExported(d) && !isAbout(d.Doc, d.Name.Name) && !wellKnown[d.Name.Name] {
			names = append(names, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			names = append(names, undocumentedOf(d, s)...)
		}
	}
	return names
}

// wellKnown are methods whose meaning is that of a well-known interface.
var wellKnown = map[string]bool{"Error": true, "Unwrap": true, "String": true}

func undocumentedOf(d *ast.GenDecl, s ast.Spec) (names []string) {
	switch s := s.(type) {
	case *ast.TypeSpec:
		doc := s.Doc
		if doc == nil {
			doc = d.Doc
		}
		if s.Name.IsExported() && !isAbout(doc, s.Name.Name) {
			names = append(names, s.Name.Name)
		}
		return append(names, undocumentedMethods(s)...)
	case *ast.ValueSpec: // what a group is, may be said once
		if d.Doc.Text() != "" || s.Doc.Text() != "" || s.Comment.Text() != "" {
			return nil
		}
		for _, name := range s.Names {
			if name.IsExported() {
				names = append(names, name.Name)
			}
		}
	}
	return names
}

// undocumentedMethods is about those of an interface.
func undocumentedMethods(s *ast.TypeSpec) (names []string) {
	i, ok := s.Type.(*ast.InterfaceType)
	if !ok || !s.Name.IsExported() {
		return nil
	}
	for _, m := range i.Methods.List {
		if len(m.Names) > 0 && m.Doc.Text() == "" && m.Comment.Text() == "" {
			names = append(names, s.Name.Name+"."+m.Names[0].Name)
		}
	}
	return names
}

// ofExported reports whether f is a function, or the method of an exported type.
func ofExported(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return true
	}
	of := f.Recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	name, ok := of.(*ast.Ident)
	return ok && name.IsExported()
}

// isAbout reports whether a comment begins as one about name does.
func isAbout(doc *ast.CommentGroup, name string) bool {
	for _, article := range []string{"", "A ", "An ", "The "} {
		if rest, ok := strings.CutPrefix(doc.Text(), article+name); ok && (rest == "" || strings.ContainsAny(rest[:1], " ,:\n")) {
			return true
		}
	}
	return false
}

var reference = regexp.MustCompile(`(?s)Reference: (.*)`)

// Who knows a method finds the call for it, and the other way round.
func TestCallsNameTheirMethods(t *testing.T) {
	t.Parallel()
	var named strings.Builder
	for _, f := range parseDir(t, ".") {
		for _, d := range f.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Name.IsExported() {
				for _, match := range reference.FindStringSubmatch(f.Doc.Text()) {
					named.WriteString(match + "\n")
				}
			}
		}
	}
	for method := range calls {
		where := "docs/api.md"
		if strings.HasPrefix(method, machine1.BusName+".") {
			where = `org\.freedesktop\.machine1\(5\)`
		}
		member := method[strings.LastIndexByte(method, '.')+1:]
		if !regexp.MustCompile(where + `[^.]*\b` + member + `\b`).MatchString(named.String()) {
			t.Errorf("no comment of package client has a Reference to %s", method)
		}
	}
}
