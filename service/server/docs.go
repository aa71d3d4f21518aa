package server

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"
)

//go:embed docs.html.tmpl
var docsTemplate string

//go:embed docs.css
var docsStyle []byte

// docsPage writes the OpenAPI documents of the API and of the tools, and what is in neither, as one page of HTML. It is made here, so that it
// needs no script and nothing from elsewhere. A route that the page does not say anything of is an error.
func docsPage(routes chi.Routes, api, tools *huma.OpenAPI) ([]byte, error) {
	page, err := template.New("docs").Parse(docsTemplate)
	if err != nil {
		return nil, fmt.Errorf("read the template of the documentation: %w", err)
	}
	all := documented(api)
	all.Groups = slices.Concat(all.Groups, []docsGroup{models}, documented(tools).Groups, []docsGroup{itself})
	if err := chi.Walk(routes, all.mustHave); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := page.Execute(&out, all); err != nil {
		return nil, fmt.Errorf("write the documentation: %w", err)
	}
	return out.Bytes(), nil
}

type docs struct {
	Title, Version, About string
	Groups                []docsGroup
}

type docsGroup struct {
	Name, About string
	Operations  []docsOperation
}

type docsOperation struct {
	ID, Method, Path, Summary, About string
	Private                          bool
	Parameters                       []docsField
	Body                             []docsField
	BodyType                         string
	Answers                          []docsAnswer
}

type docsAnswer struct {
	Status, About string
	Fields        []docsField
}

// docsField is a parameter, or a field of a body. Depth is how far it is nested.
type docsField struct {
	Name, In, Type, About string
	Required              bool
	Depth                 int
}

func documented(api *huma.OpenAPI) docs {
	page := docs{Title: api.Info.Title, Version: api.Info.Version, About: api.Info.Description}
	about := map[string]string{}
	var order []string
	for _, tag := range api.Tags {
		about[tag.Name] = tag.Description
		order = append(order, tag.Name)
	}
	byTag := map[string][]docsOperation{}
	for _, path := range slices.Sorted(maps.Keys(api.Paths)) {
		for _, op := range operations(api.Paths[path]) {
			tag := "other"
			if len(op.Tags) > 0 {
				tag = op.Tags[0]
			}
			if !slices.Contains(order, tag) {
				order = append(order, tag)
			}
			byTag[tag] = append(byTag[tag], describe(api, path, op))
		}
	}
	for _, tag := range order {
		if len(byTag[tag]) > 0 {
			page.Groups = append(page.Groups, docsGroup{tag, about[tag], byTag[tag]})
		}
	}
	return page
}

func operations(item *huma.PathItem) []*huma.Operation {
	all := []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete}
	return slices.DeleteFunc(all, func(op *huma.Operation) bool { return op == nil })
}

func describe(api *huma.OpenAPI, path string, op *huma.Operation) docsOperation {
	d := docsOperation{ID: op.OperationID, Method: op.Method, Path: path, Summary: op.Summary, About: op.Description, Private: len(op.Security)+len(api.Security) > 0}
	if d.About == d.Summary {
		d.About = ""
	}
	for _, p := range op.Parameters {
		d.Parameters = append(d.Parameters, docsField{Name: p.Name, In: p.In, Type: typeOf(api, p.Schema), About: p.Description, Required: p.Required})
	}
	if op.RequestBody != nil {
		for _, kind := range slices.Sorted(maps.Keys(op.RequestBody.Content)) {
			d.BodyType = kind
			d.Body = fields(api, op.RequestBody.Content[kind].Schema, 0)
		}
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		response := op.Responses[status]
		answer := docsAnswer{Status: status, About: response.Description}
		if strings.HasPrefix(status, "2") {
			for _, content := range response.Content {
				answer.Fields = fields(api, content.Schema, 0)
			}
		}
		d.Answers = append(d.Answers, answer)
	}
	return d
}

const deepest = 4 // fields within fields; deeper ones say their type only

func fields(api *huma.OpenAPI, schema *huma.Schema, depth int) []docsField {
	schema = resolve(api, schema)
	if schema != nil && schema.Type == huma.TypeArray {
		schema = resolve(api, schema.Items)
	}
	if schema == nil || depth == deepest {
		return nil
	}
	var list []docsField
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		property := schema.Properties[name]
		list = append(list, docsField{
			Name: name, Type: typeOf(api, property), About: resolve(api, property).Description, Required: slices.Contains(schema.Required, name), Depth: depth,
		})
		list = append(list, fields(api, property, depth+1)...)
	}
	return list
}

func resolve(api *huma.OpenAPI, schema *huma.Schema) *huma.Schema {
	if schema != nil && schema.Ref != "" {
		return api.Components.Schemas.SchemaFromRef(schema.Ref)
	}
	return schema
}

func typeOf(api *huma.OpenAPI, schema *huma.Schema) string {
	schema = resolve(api, schema)
	if schema == nil {
		return ""
	}
	name := schema.Type
	if schema.Format != "" {
		name = schema.Format
	}
	if schema.Type == huma.TypeArray {
		return "list of " + typeOf(api, schema.Items)
	}
	if len(schema.Enum) > 0 {
		values := make([]string, len(schema.Enum))
		for i, value := range schema.Enum {
			values[i] = fmt.Sprint(value)
		}
		name = strings.Join(values, " | ")
	}
	if schema.MaxLength != nil {
		name += fmt.Sprintf(", at most %d characters", *schema.MaxLength)
	}
	if schema.Default != nil {
		name += fmt.Sprintf(", default %v", schema.Default)
	}
	return name
}

// serveDocs answers with the page and its style sheet.
func serveDocs(page []byte) (http.HandlerFunc, http.HandlerFunc) {
	answer := func(kind string, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Content-Security-Policy", pagePolicy)
			w.Header().Set("Cache-Control", "public, max-age=300")
			_, _ = w.Write(body)
		}
	}
	return answer("text/html; charset=utf-8", page), answer("text/css; charset=utf-8", docsStyle)
}
