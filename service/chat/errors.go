package chat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/upstream"
)

// apiError is what OpenAI's clients understand: {"error": {…}}. Its text is for whoever asks.
type apiError struct {
	Status  int     `json:"-"`
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
	after   time.Duration
	cause   error // for the log
}

func (e *apiError) Error() string { return e.Message }
func (e *apiError) Unwrap() error { return e.cause }

// newError makes an error of the type that OpenAI gives such a status.
func newError(status int, code, message string) *apiError {
	types := map[int]string{
		http.StatusUnauthorized: "authentication_error", http.StatusForbidden: "permission_error", http.StatusTooManyRequests: "rate_limit_error",
		http.StatusServiceUnavailable: "service_unavailable_error", http.StatusInternalServerError: "server_error",
	}
	kind, special := types[status]
	if !special {
		kind = "invalid_request_error"
	}
	e := &apiError{Status: status, Message: message, Type: kind}
	if code != "" {
		e.Code = &code
	}
	return e
}

// invalid is a field of a request that is wrong.
func invalid(param, format string, args ...any) *apiError {
	e := newError(http.StatusBadRequest, "invalid_value", fmt.Sprintf(format, args...))
	e.Param = &param
	return e
}

var (
	errNoRoute = newError(http.StatusNotFound, "unknown_url", "no such route: there are /v1/models, /v1/chat/completions and /v1/embeddings")
	errMethod  = newError(http.StatusMethodNotAllowed, "method_not_allowed", "the route does not know this method")
	errNoKey   = newError(http.StatusUnauthorized, "invalid_api_key", "send an access token of this service as the API key: Authorization: Bearer …")
	errKey     = newError(http.StatusUnauthorized, "invalid_api_key", "the API key is neither a valid access token nor this connection's key")
	errNoUser  = newError(http.StatusUnauthorized, "invalid_user_token",
		"the connection's key names nobody: Open WebUI has to send a signed user token (ENABLE_FORWARD_USER_INFO_HEADERS=true and FORWARD_USER_INFO_HEADER_JWT_SECRET)")
	errUserToken = newError(http.StatusUnauthorized, "invalid_user_token", "the signed user token is not valid or has ended")
	errUnlinked  = newError(http.StatusForbidden, "no_account",
		"no account of the assistant has proved your e-mail address: register there with the address that you have here and open the link in the mail that comes then; "+
			"where no mail comes, ask the operator of the assistant to verify the address")
	errTooLarge = newError(http.StatusRequestEntityTooLarge, "request_too_large", "the request is larger than the service takes")
)

func noModel(name string) *apiError {
	e := newError(http.StatusNotFound, "model_not_found", fmt.Sprintf("the model %.100q does not exist: GET /v1/models lists those that do", name))
	param := "model"
	e.Param = &param
	return e
}

// asAPIError turns any error into what clients are told. What went wrong inside is not for them.
func asAPIError(err error) *apiError {
	var known *apiError
	var refused *upstream.RefusedError
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, errHalfDone):
		e := newError(http.StatusServiceUnavailable, "model_unavailable", errHalfDone.Error()+": look before you ask again")
		e.after, e.cause = 5*time.Second, err
		return e
	case errors.As(err, &refused) && refused.Message != "" && refused.Status != http.StatusNotFound:
		e := newError(http.StatusBadRequest, "refused_by_model", refused.Error())
		e.cause = err
		return e
	case errors.Is(err, upstream.ErrUnavailable) || errors.As(err, &refused):
		e := newError(http.StatusServiceUnavailable, "model_unavailable", "the language model does not answer at the moment: try again later, or ask the model "+assistant)
		e.after, e.cause = 5*time.Second, err
		return e
	case api.Unavailable(err) || errors.Is(err, context.DeadlineExceeded):
		e := newError(http.StatusServiceUnavailable, "service_unavailable", "the service cannot answer at the moment: try again")
		e.after, e.cause = time.Second, err
		return e
	default:
		e := newError(http.StatusInternalServerError, "internal_error", "the service made a mistake; its log has it under the request's id")
		e.cause = err
		return e
	}
}

// Owns says whether a path is under /v1, where clients expect errors as OpenAI writes them.
func Owns(path string) bool { return path == "/v1" || strings.HasPrefix(path, "/v1/") }

// WriteError answers a request under /v1 that does not get to a route. A Retry-After that is set stays.
func WriteError(w http.ResponseWriter, status int, message string) {
	code := ""
	if status == http.StatusTooManyRequests {
		code = "rate_limit_exceeded"
	}
	writeError(w, newError(status, code, message))
}

func writeError(w http.ResponseWriter, e *apiError) {
	e.headers(w.Header())
	writeJSON(w, e.Status, map[string]*apiError{"error": e})
}

// headers say how to get in, or when to come again.
func (e *apiError) headers(h http.Header) {
	switch e.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if h.Get("Retry-After") == "" {
			h.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(e.after.Seconds())))))
		}
	}
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // an error here is a client that left
}
