package chat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/smart-assistant/platform/service/briefing"
	"github.com/smart-assistant/platform/service/job"
	"github.com/smart-assistant/platform/service/mail"
	"github.com/smart-assistant/platform/service/upstream"
)

// tool is something that the assistant can do for the user: for a language model, over HTTP, and for the assistant that goes without.
type tool struct {
	name, summary, description string

	writes    bool // it changes something, or costs something
	strangers bool // its result holds text that strangers wrote

	input      *huma.Schema
	in, out    reflect.Type
	parameters json.RawMessage // input, as models are told
	call       func(ctx context.Context, userID string, arguments []byte) (any, error)
}

// define makes a tool of a function. Its input is a flat struct: small models get nested ones wrong.
func define[In, Out any](t tool, do func(ctx context.Context, userID string, in In) (Out, error)) tool {
	t.in, t.out = reflect.TypeFor[In](), reflect.TypeFor[Out]()
	registry := huma.NewMapRegistry("#/", huma.DefaultSchemaNamer)
	t.input = huma.SchemaFromType(registry, t.in)
	t.input.PrecomputeMessages()
	parameters, err := json.Marshal(t.input)
	if err != nil {
		panic(fmt.Sprintf("the input of the tool %s: %v", t.name, err)) // a fault of this package, seen by every test
	}
	t.parameters = parameters
	t.call = func(ctx context.Context, userID string, arguments []byte) (any, error) {
		var in In
		if err := readArguments(registry, t.input, arguments, &in); err != nil {
			return nil, err
		}
		return do(ctx, userID, in)
	}
	return t
}

// toolError is input that a tool refuses, or something that is not there. Its text is for the user, and for the model.
type toolError struct {
	status  int
	problem string
}

func (e *toolError) Error() string { return e.problem }

// readArguments checks arguments against the schema. Nulls are taken for absent, as models write them.
func readArguments(registry huma.Registry, schema *huma.Schema, arguments []byte, in any) error {
	if len(strings.TrimSpace(string(arguments))) == 0 {
		arguments = []byte("{}")
	}
	var given map[string]any
	if err := json.Unmarshal(arguments, &given); err != nil || given == nil {
		return &toolError{http.StatusUnprocessableEntity, "the arguments are not a JSON object"}
	}
	for name, value := range given {
		if value == nil {
			delete(given, name)
		}
	}
	var result huma.ValidateResult
	huma.Validate(registry, schema, huma.NewPathBuffer(nil, 0), huma.ModeWriteToServer, given, &result)
	if len(result.Errors) > 0 {
		var problems []string
		for _, err := range result.Errors {
			if detail, is := errors.AsType[*huma.ErrorDetail](err); is {
				problems = append(problems, strings.TrimSpace(detail.Location+" "+detail.Message))
			}
		}
		return &toolError{http.StatusUnprocessableEntity, "the arguments are not right: " + strings.Join(problems, "; ")}
	}
	text, err := json.Marshal(given)
	if err == nil {
		err = json.Unmarshal(text, in)
	}
	if err != nil {
		return &toolError{http.StatusUnprocessableEntity, "the arguments are not right"}
	}
	return nil
}

// asToolError turns what the parts say into what a user or a model can act on, and leaves what is broken as it is.
func asToolError(err error) error {
	var invalidJob *job.InvalidError
	var invalidQuery *mail.InvalidError
	var status huma.StatusError
	switch {
	case errors.Is(err, mail.ErrNotFound), errors.Is(err, job.ErrNotFound), errors.Is(err, briefing.ErrNotFound):
		return &toolError{http.StatusNotFound, "there is nothing of this id, or nothing yet"}
	case errors.Is(err, job.ErrChanged):
		return &toolError{http.StatusConflict, job.ErrChanged.Error()}
	case errors.As(err, &invalidJob):
		return &toolError{http.StatusUnprocessableEntity, invalidJob.Error()}
	case errors.As(err, &invalidQuery):
		return &toolError{http.StatusUnprocessableEntity, invalidQuery.Problem}
	case errors.As(err, &status) && status.GetStatus() < http.StatusInternalServerError:
		return &toolError{status.GetStatus(), status.Error()}
	default:
		return err
	}
}

var separators = regexp.MustCompile(`[^a-z0-9]+`)

// toolMeant is the one of ours that a name means, or nil. Front ends put something before the names of a tool server's tools, and models
// before any: assistant_add_application, functions.add_application.
func (s *Service) toolMeant(name string) *tool {
	name = "_" + separators.ReplaceAllString(strings.ToLower(name), "_")
	for i := range s.tools {
		if strings.HasSuffix(name, "_"+s.tools[i].name) {
			return &s.tools[i]
		}
	}
	return nil
}

// function is how a model is told of a tool.
func (t tool) function() upstream.Tool {
	return upstream.Tool{Type: "function", Function: upstream.Function{Name: t.name, Description: t.description, Parameters: t.parameters}}
}

// toolRoute runs a tool for a request. Its answers are plain JSON and problem details (RFC 9457): a tool's client is no OpenAI client.
func (s *Service) toolRoute(t tool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r, err := s.identify(r)
		if err != nil {
			s.writeProblem(w, r, err)
			return
		}
		do := func(w http.ResponseWriter, r *http.Request) { s.runTool(w, r, t) }
		if t.writes && s.config.Once != nil {
			do = s.config.Once(do, s.writeProblem)
		}
		do(w, r)
	}
}

func (s *Service) runTool(w http.ResponseWriter, r *http.Request, t tool) {
	body, err := readBody(r)
	if err != nil {
		s.writeProblem(w, r, err)
		return
	}
	result, err := t.call(r.Context(), UserID(r.Context()), body)
	if err != nil {
		s.writeProblem(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, result)
}

func (s *Service) writeProblem(w http.ResponseWriter, r *http.Request, err error) {
	problem := huma.ErrorModel{}
	if refused, is := errors.AsType[*toolError](asToolError(err)); is {
		problem.Status, problem.Detail = refused.status, refused.problem
	} else {
		e := asAPIError(err)
		if r != nil {
			s.logError(r.Context(), e)
		}
		problem.Status, problem.Detail = e.Status, e.Message
		e.headers(w.Header())
	}
	problem.Title = http.StatusText(problem.Status)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(problem.Status)
	_ = json.NewEncoder(w).Encode(problem) // an error here is a client that left
}
