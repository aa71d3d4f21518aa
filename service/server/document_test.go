package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/smart-assistant/platform/test/npm"
)

// document is what the tests read of an OpenAPI document.
type document struct {
	OpenAPI    string                          `json:"openapi"`
	Paths      map[string]map[string]operation `json:"paths"`
	Tags       []struct{ Name string }         `json:"tags"`
	Components struct {
		Schemas map[string]schemaOf `json:"schemas"`
	} `json:"components"`
}

type operation struct {
	OperationID string           `json:"operationId"`
	Summary     string           `json:"summary"`
	Description string           `json:"description"`
	Tags        []string         `json:"tags"`
	Security    []map[string]any `json:"security"`
	Parameters  []parameter      `json:"parameters"`
	RequestBody *struct {
		Content map[string]struct{ Schema schemaOf } `json:"content"`
	} `json:"requestBody"`
}

type parameter struct {
	Name, In string
	Required bool
	Schema   schemaOf
}

// schemaOf is a JSON schema, as far as the documents use it.
type schemaOf struct {
	Ref        string              `json:"$ref"`
	Type       any                 `json:"type"` // a string, or a list with "null" in it
	Format     string              `json:"format"`
	Enum       []any               `json:"enum"`
	Pattern    string              `json:"pattern"`
	MinLength  int                 `json:"minLength"`
	Minimum    float64             `json:"minimum"`
	Required   []string            `json:"required"`
	Properties map[string]schemaOf `json:"properties"`
	Items      *schemaOf           `json:"items"`
}

var documents = []string{"/openapi.json", "/tools/openapi.json"}

func (r *replica) document(t *testing.T, path string) (document, string) {
	t.Helper()
	var d document
	a := r.want(t, 200, "GET", path, "", nil)
	a.decode(t, &d)
	return d, a.text
}

// each calls do for every operation of a document, in order.
func (d document) each(do func(path, method string, op operation)) {
	for _, path := range slices.Sorted(maps.Keys(d.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(d.Paths[path])) {
			do(path, strings.ToUpper(method), d.Paths[path][method])
		}
	}
}

// testSpectral: Stoplight's linter finds nothing to say about the documents.
func testSpectral(t *testing.T, w *world) {
	r := w.start(t)
	_, service := r.document(t, documents[0])
	_, tools := r.document(t, documents[1])
	twice := strings.Replace(service, `"operationId":"login"`, `"operationId":"logout"`, 1)
	found := spectral(t, map[string]string{"service.json": service, "tools.json": tools, "twice.json": twice})
	for _, finding := range slices.Concat(found["service.json"], found["tools.json"]) {
		t.Error(finding)
	}
	if len(found["twice.json"]) == 0 {
		t.Error("the linter does not see two operations of one name: it looks at nothing")
	}
}

// spectral returns what the linter finds in each document.
func spectral(t *testing.T, texts map[string]string) map[string][]string {
	t.Helper()
	installed, folder := npm.Install(t, "testdata/spectral"), t.TempDir()
	arguments := []string{"lint", "--quiet", "--format", "json", "--ruleset", filepath.Join(installed, ".spectral.yaml")}
	for name, text := range texts {
		file := filepath.Join(folder, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		arguments = append(arguments, file)
	}
	command := osexec.CommandContext(t.Context(), filepath.Join(installed, "node_modules/.bin/spectral"), arguments...) //nolint:gosec // a pinned linter
	out, _ := command.Output()                                                                                          // exits 1 when it finds an error; the output says which
	var all []struct {
		Code, Message, Source string
		Path                  []any
	}
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&all); err != nil {
		t.Fatalf("spectral: %v in %s", err, out)
	}
	found := map[string][]string{}
	for _, f := range all {
		name := filepath.Base(f.Source)
		found[name] = append(found[name], fmt.Sprintf("%s: %s: %s at %v", name, f.Code, f.Message, f.Path))
	}
	return found
}

// testOperationsAreDescribed: what a reader needs to know of an operation is there, and its group is one that is explained.
func testOperationsAreDescribed(t *testing.T, w *world) {
	r := w.start(t)
	for _, path := range documents {
		d, _ := r.document(t, path)
		if !strings.HasPrefix(d.OpenAPI, "3.1.") {
			t.Errorf("%s is OpenAPI %s", path, d.OpenAPI)
		}
		tags := map[string]bool{}
		for _, tag := range d.Tags {
			tags[tag.Name] = true
		}
		seen := map[string]bool{}
		d.each(func(path, method string, op operation) {
			if op.OperationID == "" || seen[op.OperationID] || op.Summary == "" || op.Description == "" || op.Description == op.Summary {
				t.Errorf("%s %s: operationId %q, summary %q, description %q", method, path, op.OperationID, op.Summary, op.Description)
			}
			seen[op.OperationID] = true
			if len(op.Tags) != 1 || !tags[op.Tags[0]] {
				t.Errorf("%s %s: tags %q", method, path, op.Tags)
			}
		})
		if len(seen) < 8 {
			t.Errorf("%s has only %d operations", path, len(seen))
		}
	}
}

// testDocsPage: the page shows every operation of both documents and what is in neither, and asks nobody else for anything.
func testDocsPage(t *testing.T, w *world) {
	r := w.start(t)
	page := html.UnescapeString(r.want(t, 200, "GET", "/docs", "", nil).text)
	style := r.want(t, 200, "GET", "/docs/style.css", "", nil).text
	for _, path := range documents {
		d, _ := r.document(t, path)
		d.each(func(path, method string, op operation) {
			for _, want := range []string{`<article id="` + op.OperationID + `">`, `href="#` + op.OperationID + `"`, op.Summary, op.Description, "<code>" + path + "</code>"} {
				if !strings.Contains(page, want) {
					t.Errorf("%s %s: the page has no %s", method, path, want)
				}
			}
		})
	}
	for _, path := range slices.Concat(documents, []string{
		"/health", "/ready", "/version", "/docs", "/.well-known/jwks.json", "/v1/models", "/v1/chat/completions", "/v1/embeddings", "/account/verify", "/account/reset",
	}) {
		if !strings.Contains(page, "<code>"+path+"</code>") {
			t.Errorf("the page says nothing of %s", path)
		}
	}
	for _, match := range regexp.MustCompile(`(?i)\b(?:href|src|srcset|action|data|poster)\s*=\s*"?([^"\s>]*)`).FindAllStringSubmatch(page, -1) {
		if to := match[1]; !strings.HasPrefix(to, "#") && to != "/docs/style.css" && !slices.Contains(documents, to) {
			t.Errorf("the page refers to %s", to)
		}
	}
	for name, text := range map[string]string{"page": page, "style sheet": style} {
		if found := regexp.MustCompile(`(?i)<script|<iframe|@import|url\(|<[^>]*\sstyle=|<[^>]*\son[a-z]+=`).FindString(text); found != "" {
			t.Errorf("the %s has %s", name, found)
		}
	}
}

// labels are those that metrics of the service may have. None of them can name a user.
var labels = []string{
	"commit", "decision", "kind", "le", "limit", "method", "operation", "queue", "result", "route", "source", "state", "status", "stream", "version", "writer",
}

// testMetricsFormat: promtool accepts what a replica with some traffic says of itself, docs/api.md lists it, and no label could name a user.
func testMetricsFormat(t *testing.T, w *world) {
	r := w.start(t)
	ada := r.user(t, "ada@example.org").AccessToken
	r.want(t, 401, "POST", "/api/v1/auth/login", "", object{"email": "ada@example.org", "password": "wrong words"})
	r.want(t, 201, "POST", "/api/v1/applications", ada, object{"company": "Example"})
	r.want(t, 200, "POST", "/api/v1/mail-imports", ada, letter("Ann <ann@example.org>", "Hello", "How are you?"))
	r.want(t, 201, "POST", "/api/v1/briefings", ada, nil)
	r.want(t, 200, "POST", "/v1/chat/completions", ada, object{"model": "smart-assistant", "messages": []object{{"role": "user", "content": "hello"}}})
	r.want(t, 200, "POST", "/tools/list_applications", ada, object{})
	a, err := try(t.Context(), "GET", r.metrics+"/metrics", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	promtool, err := filepath.Abs("../../bin/promtool")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(promtool); err != nil {
		t.Fatalf("the test needs promtool (tools/build.sh promtool): %v", err)
	}
	check := func(text string) (string, error) {
		command := osexec.CommandContext(t.Context(), promtool, "check", "metrics", "--lint=all") //nolint:gosec // a pinned tool
		command.Stdin = strings.NewReader(text)
		out, err := command.CombinedOutput()
		return string(out), err
	}
	if out, err := check(a.text); err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("promtool: %v: %s", err, out)
	}
	if out, err := check(a.text + "\nassistd_things_total{a=} 1\n"); err == nil {
		t.Errorf("promtool takes what is no metric: %s", out)
	}
	listed, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	families, seen := 0, map[string]bool{}
	for line := range strings.Lines(a.text) {
		if strings.HasPrefix(line, "# TYPE assistd_") {
			families++
			if name := strings.Fields(line)[2]; !bytes.Contains(listed, []byte("`"+name+"`")) {
				t.Errorf("docs/api.md does not list %s", name)
			}
		}
		if strings.HasPrefix(line, "assistd_") {
			for _, label := range regexp.MustCompile(`([a-z_]+)="`).FindAllStringSubmatch(line, -1) {
				seen[label[1]] = true
			}
		}
	}
	for label := range seen {
		if !slices.Contains(labels, label) {
			t.Errorf("a metric has the label %s, which is not among those that are known to name no user", label)
		}
	}
	if families < 10 || strings.Contains(a.text, "example.org") {
		t.Errorf("%d metrics; they name a user: %v", families, strings.Contains(a.text, "example.org"))
	}
}
