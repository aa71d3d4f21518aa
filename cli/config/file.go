package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A file nests no deeper and says no more than this; aliases could otherwise unfold without end.
const (
	maxDepth  = 12
	maxValues = 10_000
)

// readFile reads the YAML text into flat keys. Viper could read it too, but would lose the lines and the order of the keys. name is how problems call the file; relative paths in it are relative to dir.
func (g *given) readFile(name, dir string, raw []byte) {
	r := reader{given: g, name: name, dir: dir}
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	var document yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return // nothing but comments
	case err != nil:
		r.syntax(err)
		return
	}
	var second yaml.Node
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		if err != nil {
			r.syntax(err)
			return
		}
		r.refuse(&second, "", "begins a second document; one is read")
		return
	}
	root := document.Content[0]
	if root.Tag == "!!null" {
		return
	}
	if root.Kind != yaml.MappingNode {
		r.refuse(root, "", "is not a mapping of keys to values")
		return
	}
	r.mapping("", root, 0)
}

// reader walks the nodes of one file.
type reader struct {
	given *given
	name  string
	dir   string
	seen  int
}

func (r *reader) place(n *yaml.Node) Source {
	return Source{Kind: FromFile, Name: r.name, Line: n.Line}
}

func (r *reader) refuse(n *yaml.Node, key, text string) { r.given.problem(r.place(n), key, text) }

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// syntax reports what the YAML parser says, with its line where it names one.
func (r *reader) syntax(err error) {
	at := Source{Kind: FromFile, Name: r.name, Line: 1}
	text := err.Error()
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		if line, err := strconv.Atoi(m[1]); err == nil {
			at.Line = line
		}
		text = m[2]
	}
	r.given.problem(at, "", "is not YAML: "+text)
}

func (r *reader) mapping(path string, n *yaml.Node, depth int) {
	if depth > maxDepth || r.seen > maxValues {
		r.refuse(n, path, "nests too deep or says too much")
		return
	}
	own := map[string]bool{}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		if name.Tag == "!!merge" {
			merged = append(merged, value)
			continue
		}
		if name.Kind != yaml.ScalarNode {
			r.refuse(name, path, "has a key that is not a plain word")
			continue
		}
		if depth == 0 && strings.HasPrefix(name.Value, "x-") {
			continue // the user's own, a place for anchors
		}
		key := join(path, name.Value)
		if own[name.Value] {
			r.refuse(name, key, fmt.Sprintf("is there twice, first on line %d", r.given.lines[key].Line))
			continue
		}
		own[name.Value] = true
		r.given.lines[key] = r.place(name)
		r.value(key, value, depth+1)
	}
	for _, m := range merged {
		r.merge(path, m, own, depth+1)
	}
}

// merge takes the keys of a "<<" mapping that the mapping itself does not have.
func (r *reader) merge(path string, n *yaml.Node, own map[string]bool, depth int) {
	n = aliased(n)
	if depth > maxDepth {
		r.refuse(n, path, "nests too deep")
		return
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for _, item := range n.Content {
			r.merge(path, item, own, depth+1)
		}
	case yaml.MappingNode:
		rest := *n
		rest.Content = nil
		for i := 0; i+1 < len(n.Content); i += 2 {
			if name := n.Content[i].Value; n.Content[i].Tag == "!!merge" || !own[name] {
				own[name] = true
				rest.Content = append(rest.Content, n.Content[i], n.Content[i+1])
			}
		}
		r.mapping(path, &rest, depth)
	default:
		r.refuse(n, join(path, "<<"), "merges something that is not a mapping")
	}
}

func (r *reader) value(key string, n *yaml.Node, depth int) {
	r.seen++
	o := origin{key: key, dir: r.dir, source: r.given.lines[key]}
	n = aliased(n)
	switch {
	case n.Kind == yaml.MappingNode && len(n.Content) > 0:
		r.mapping(key, n, depth)
		return
	case n.Kind == yaml.SequenceNode:
		var items []string
		for _, item := range n.Content {
			if item = aliased(item); item.Kind != yaml.ScalarNode {
				r.refuse(item, key, "is not a list of plain words")
				return
			}
			items = append(items, item.Value)
		}
		o.text, o.list = strings.Join(items, ","), true
		r.given.merge(o)
	case n.Kind == yaml.ScalarNode && n.Tag != "!!null":
		o.text = n.Value
		r.given.merge(o)
	}
	r.given.inFile = append(r.given.inFile, o)
}

func aliased(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}
