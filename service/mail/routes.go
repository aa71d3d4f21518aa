package mail

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/mail/message"
)

// ImportPath is where mail is imported (POST). The body is as long as a mailbox, so that the server has limits of its own for it.
const ImportPath = "/api/v1/mail-imports"

// Narrow is a list's filter in a request.
type Narrow struct {
	Category Category  `query:"category" enum:"application,interview,offer,rejection,newsletter,other" doc:"Only mail of this category"`
	Since    time.Time `query:"since" doc:"Received at or after this time (RFC 3339)"`
	Until    time.Time `query:"until" doc:"Received before this time (RFC 3339)"`
}

func (n Narrow) filter() Filter { return Filter(n) }

// ByID names a message in a request.
type ByID struct {
	ID string `path:"id" format:"uuid" doc:"Of the message"`
}

type (
	listInput struct {
		Narrow
		api.Page
	}
	searchInput struct {
		Query string `query:"q" required:"true" minLength:"1" maxLength:"500" example:"from:acme interview -newsletter" doc:"Words that all have to occur, in any of their forms; \"words that stand together\"; -word must not occur; from:word and subject:word have to stand there"`
		Narrow
		api.Page
	}
	similarInput struct {
		Text  string `query:"text" required:"true" minLength:"1" maxLength:"2000" example:"a call about the next round" doc:"What the messages should be like"`
		Limit int    `query:"limit" minimum:"1" maximum:"100" default:"10" doc:"Most messages to answer with"`
	}
	similarToInput struct {
		ByID
		Limit int `query:"limit" minimum:"1" maximum:"100" default:"10" doc:"Most messages to answer with"`
	}
	conditionalInput struct {
		ByID
		IfNoneMatch string `header:"If-None-Match" doc:"ETag of the copy that the caller has"`
	}
	fileInput struct {
		ByID
		File string `path:"attachment" format:"uuid" doc:"Of the attachment"`
	}
	correction struct {
		ByID
		Body struct {
			Category Category `json:"category" enum:"application,interview,offer,rejection,newsletter,other" doc:"What the message is about, as the user sees it"`
		}
	}
)

type (
	listAnswer  struct{ Body api.List[Summary] }
	alikeAnswer struct{ Body Alike }
	emailAnswer struct {
		ETag string `header:"ETag"`
		Body Email
	}
	reportAnswer struct{ Body Report }
	nothing      struct{}
)

// Routes adds the routes to an API that lets in users only.
func (s *Service) Routes(private huma.API) {
	s.listRoutes(private)
	s.emailRoutes(private)
	s.importRoute(private)
	s.connections.routes(private)
}

func (s *Service) listRoutes(private huma.API) {
	huma.Register(private, huma.Operation{
		OperationID: "list-emails", Method: http.MethodGet, Path: "/api/v1/emails", Summary: "List my mail, newest first", Tags: []string{"mail"},
		Description: "Messages of a category and of a stretch of time, without their texts. Lists go on where the cursor says.",
	}, func(ctx context.Context, in *listInput) (*listAnswer, error) {
		list, next, err := s.List(ctx, s.config.Caller(ctx), in.filter(), in.Page)
		return &listAnswer{api.List[Summary]{Items: list, NextCursor: next}}, problem(err)
	})
	huma.Register(private, huma.Operation{
		OperationID: "search-emails", Method: http.MethodGet, Path: "/api/v1/emails/search", Summary: "Search my mail for words", Tags: []string{"mail"},
		Description: "Full-text search over senders, subjects and texts, newest first. Words like “the” are not looked at.",
	}, func(ctx context.Context, in *searchInput) (*listAnswer, error) {
		list, next, err := s.Search(ctx, s.config.Caller(ctx), in.Query, in.filter(), in.Page)
		return &listAnswer{api.List[Summary]{Items: list, NextCursor: next}}, problem(err)
	})
	huma.Register(private, huma.Operation{
		OperationID: "find-similar-emails", Method: http.MethodGet, Path: "/api/v1/emails/similar", Summary: "Search my mail by meaning", Tags: []string{"mail"},
		Description: "The messages whose texts are nearest to the one given, best first, among the newest 20,000.",
		Errors:      []int{http.StatusServiceUnavailable},
	}, func(ctx context.Context, in *similarInput) (*alikeAnswer, error) {
		alike, err := s.Similar(ctx, s.config.Caller(ctx), in.Text, in.Limit)
		return &alikeAnswer{alike}, problem(err)
	})
	huma.Register(private, huma.Operation{
		OperationID: "list-similar-emails", Method: http.MethodGet, Path: "/api/v1/emails/{id}/similar", Summary: "List mail that is like a message",
		Tags: []string{"mail"}, Errors: []int{http.StatusNotFound, http.StatusServiceUnavailable},
		Description: "The messages whose texts are nearest to that of one of them, best first, among the newest 20,000.",
	}, func(ctx context.Context, in *similarToInput) (*alikeAnswer, error) {
		alike, err := s.SimilarTo(ctx, s.config.Caller(ctx), in.ID, in.Limit)
		return &alikeAnswer{alike}, problem(err)
	})
}

func (s *Service) emailRoutes(private huma.API) {
	huma.Register(private, huma.Operation{
		OperationID: "get-email", Method: http.MethodGet, Path: "/api/v1/emails/{id}", Summary: "Read a message", Tags: []string{"mail"},
		Description: "The whole message as plain text, and the names of its files.", Errors: []int{http.StatusNotFound},
		Responses: map[string]*huma.Response{"304": {Description: "The caller's copy is the newest"}},
	}, func(ctx context.Context, in *conditionalInput) (*emailAnswer, error) {
		email, err := s.Get(ctx, s.config.Caller(ctx), in.ID)
		if err != nil {
			return nil, problem(err)
		}
		tag := etag(email)
		if matches(in.IfNoneMatch, tag) {
			return nil, huma.ErrorWithHeaders(huma.Status304NotModified(), http.Header{"Etag": {tag}})
		}
		return &emailAnswer{tag, email}, nil
	})
	huma.Register(private, huma.Operation{
		OperationID: "correct-email", Method: http.MethodPatch, Path: "/api/v1/emails/{id}", Summary: "Correct a message's category", Tags: []string{"mail"},
		Description: "From then on the category is the user's, and no classifier changes it.", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *correction) (*emailAnswer, error) {
		email, err := s.Correct(ctx, s.config.Caller(ctx), in.ID, in.Body.Category)
		if err != nil {
			return nil, problem(err)
		}
		return &emailAnswer{etag(email), email}, nil
	})
	huma.Register(private, huma.Operation{
		OperationID: "delete-email", Method: http.MethodDelete, Path: "/api/v1/emails/{id}", Summary: "Delete a message", Tags: []string{"mail"},
		Description: "Its files go with it. It stays in the mailbox that it came from, and is not fetched from there again.", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *ByID) (*nothing, error) {
		return nil, problem(s.Delete(ctx, s.config.Caller(ctx), in.ID))
	})
	huma.Register(private, huma.Operation{
		OperationID: "get-attachment", Method: http.MethodGet, Path: "/api/v1/emails/{id}/attachments/{attachment}", Summary: "Download a file of a message",
		Tags: []string{"mail"}, Errors: []int{http.StatusNotFound}, Description: "The file as it was sent, to be saved and not shown.",
		Responses: map[string]*huma.Response{"200": {
			Description: "The file", Content: map[string]*huma.MediaType{"application/octet-stream": {Schema: fileSchema}},
		}},
	}, func(ctx context.Context, in *fileInput) (*huma.StreamResponse, error) {
		file, err := s.Attachment(ctx, s.config.Caller(ctx), in.ID, in.File)
		if err != nil {
			return nil, problem(err)
		}
		return &huma.StreamResponse{Body: file.send}, nil
	})
}

var fileSchema = &huma.Schema{Type: huma.TypeString, Format: "binary"}

// etag changes with what may change of a message.
func etag(email Email) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %g %q", email.ID, email.Category, email.Score, email.Reason))
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}

// matches says whether If-None-Match names a tag (RFC 9110, section 13.1.2).
func matches(header, tag string) bool {
	for candidate := range strings.SplitSeq(header, ",") {
		if candidate = strings.TrimSpace(candidate); candidate == "*" || strings.TrimPrefix(candidate, "W/") == tag {
			return true
		}
	}
	return false
}

// harmless are types that no browser runs as a page. All others are called bytes.
var harmless = map[string]bool{
	"application/pdf": true, "image/png": true, "image/jpeg": true, "image/gif": true, "image/webp": true, "text/plain": true, "text/csv": true,
	"text/calendar": true, "application/zip": true, "application/msword": true, "message/rfc822": true,
	"application/vnd.openxmlformats-officedocument.wordprocessingml.document": true,
	"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet":       true,
}

// send answers with a file that a browser saves and does not open.
func (f File) send(ctx huma.Context) {
	kind := f.ContentType
	if !harmless[kind] {
		kind = "application/octet-stream"
	}
	name := f.Name
	if name == "" {
		name = "attachment"
	}
	ctx.SetHeader("Content-Type", kind)
	ctx.SetHeader("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	ctx.SetHeader("X-Content-Type-Options", "nosniff")
	ctx.SetHeader("Content-Security-Policy", "sandbox; default-src 'none'")
	ctx.SetHeader("Cache-Control", "private, no-store")
	ctx.SetHeader("Content-Length", fmt.Sprint(len(f.Content)))
	_, _ = ctx.BodyWriter().Write(f.Content) // an error here is a client that left
}

// importInput keeps the body, which is read as it comes.
type importInput struct{ body io.Reader }

// Resolve implements huma.Resolver.
func (i *importInput) Resolve(ctx huma.Context) []error {
	i.body = ctx.BodyReader()
	return nil
}

func (s *Service) importRoute(private huma.API) {
	file := &huma.MediaType{Schema: fileSchema}
	operation := huma.Operation{
		OperationID: "import-mail", Method: http.MethodPost, Path: ImportPath, Summary: "Import mail from a file", Tags: []string{"mail"},
		Description: "The body is an mbox, a tar of Maildirs, or one message, and may be compressed with gzip; its content tells which. Messages are stored " +
			"while the body is read. Sent again after an interruption, exactly those are stored that were not.",
		Errors: []int{http.StatusRequestTimeout, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity, http.StatusServiceUnavailable},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"application/mbox": file, "application/x-tar": file, "application/gzip": file, "message/rfc822": file,
		}},
	}
	huma.Register(private, api.NotKept(operation), func(ctx context.Context, in *importInput) (*reportAnswer, error) {
		report, err := s.Import(ctx, s.config.Caller(ctx), in.body)
		if err != nil {
			return nil, importProblem(report, err)
		}
		return &reportAnswer{report}, nil
	})
}

// importProblem says why an import ended early, and what it has stored before.
func importProblem(report Report, err error) error {
	so := fmt.Sprintf("%d messages were imported before and %d were there already; sent again, the rest follows", report.Imported, report.Duplicates)
	var large *http.MaxBytesError
	switch {
	case errors.Is(err, ErrTwice):
		return huma.Error409Conflict("an import of yours is running: wait until it has ended")
	case errors.Is(err, ErrBusy):
		return huma.ErrorWithHeaders(huma.Error503ServiceUnavailable("too many imports are running: try again in a minute"), http.Header{"Retry-After": {"60"}})
	case errors.Is(err, ErrSlow):
		return huma.NewError(http.StatusRequestTimeout, ErrSlow.Error()+"; "+so)
	case errors.Is(err, ErrUnknownUser):
		return huma.Error401Unauthorized("the account is gone")
	case errors.Is(err, message.ErrFormat):
		return huma.Error422UnprocessableEntity(message.ErrFormat.Error())
	case errors.Is(err, message.ErrBroken):
		return huma.Error422UnprocessableEntity(message.ErrBroken.Error() + "; " + so)
	case errors.As(err, &large):
		return huma.NewError(http.StatusRequestEntityTooLarge, fmt.Sprintf("the file is longer than %d bytes: send it in parts; %s", large.Limit, so))
	case errors.Is(err, errSilent), api.Unavailable(err):
		return huma.ErrorWithHeaders(huma.Error503ServiceUnavailable("the service's database does not answer; "+so, err), http.Header{"Retry-After": {"1"}})
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return huma.NewError(http.StatusRequestTimeout, "the file came too slowly; "+so)
	}
	return err
}

// problem turns what the package says into what HTTP says. An error that it does not know stays as it is: the server answers 500 and logs
// it.
func problem(err error) error {
	var invalid *InvalidError
	switch {
	case errors.As(err, &invalid):
		return huma.Error422UnprocessableEntity(invalid.Error(), &huma.ErrorDetail{Message: invalid.Problem, Location: "query." + invalid.Field})
	case errors.Is(err, ErrTwice):
		return later("a search of yours by meaning is running: try again when it has ended")
	case errors.Is(err, ErrBusy):
		return later("too many searches by meaning are running: try again in a few seconds")
	case errors.Is(err, ErrNotFound):
		return huma.Error404NotFound("there is no such message, or it is not yours")
	}
	return err
}

func later(text string) error {
	return huma.ErrorWithHeaders(huma.Error503ServiceUnavailable(text), http.Header{"Retry-After": {"5"}})
}
