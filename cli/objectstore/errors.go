package objectstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	smithy "github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/smart-assistant/platform/cli/fault"
)

// explain turns the SDK's error into one that says what was done to what, why it failed, and what to do about it.
func (s *S3) explain(err error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	var api smithy.APIError
	hasCode := errors.As(err, &api) && api.ErrorCode() != ""
	var network net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", what, brief{err, contextText(err)})
	case hasCode && api.ErrorCode() == "NoSuchBucket":
		return fault.Code(fault.Hint(fmt.Errorf("%s: bucket %s does not exist: %w", what, s.bucket, brief{err, "NoSuchBucket"}),
			"check the bucket's name in assistctl.yaml"), fault.NotFound)
	case notFound(err):
		return fmt.Errorf("%s: %w", what, ErrNotExist)
	case hasCode && (status(err) == http.StatusForbidden || status(err) == http.StatusUnauthorized):
		return fault.Hint(fmt.Errorf("%s: the store refuses: %w", what, brief{err, api.ErrorCode() + ": " + api.ErrorMessage()}),
			"check the access key and secret of bucket "+s.bucket+", and this machine's clock")
	case hasCode:
		return fmt.Errorf("%s: %w", what, brief{err, fmt.Sprintf("%s: %s (HTTP %d)", api.ErrorCode(), api.ErrorMessage(), status(err))})
	case errors.As(err, &network):
		return fault.Code(fault.Hint(fmt.Errorf("%s: the object store%s does not answer: %w", what, s.at(), brief{err, networkText(err)}),
			"assistctl doctor shows what answers and what does not"), fault.Unreachable)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (s *S3) at() string {
	if s.endpoint == "" {
		return ""
	}
	return " at " + s.endpoint
}

// conditionFailed tells a condition that did not hold from other refusals. 409 is a conditional write that met another one
// (ConditionalRequestConflict); 404 is If-Match on an object that is gone.
func conditionFailed(err error, cond Condition) bool {
	switch status(err) {
	case http.StatusPreconditionFailed, http.StatusConflict:
		return true
	case http.StatusNotFound:
		var api smithy.APIError
		return cond.etag != "" && errors.As(err, &api) && api.ErrorCode() != "NoSuchBucket"
	}
	return false
}

func notFound(err error) bool { return status(err) == http.StatusNotFound }

// status is the HTTP status of the answer, 0 when there was none.
func status(err error) int {
	var response *smithyhttp.ResponseError
	if !errors.As(err, &response) || response.Response == nil || response.Response.Response == nil {
		return 0
	}
	return response.HTTPStatusCode()
}

// brief is an error with a text fit to read; the SDK's own repeats itself over several lines.
type brief struct {
	error
	text string
}

func (b brief) Error() string { return b.text }
func (b brief) Unwrap() error { return b.error }

func contextText(err error) string {
	if errors.Is(err, context.Canceled) {
		return context.Canceled.Error()
	}
	return context.DeadlineExceeded.Error()
}

// networkText is the innermost network error: "dial tcp 127.0.0.1:7070: connect: connection refused".
func networkText(err error) string {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return op.Error()
	}
	if dns := (*net.DNSError)(nil); errors.As(err, &dns) {
		return dns.Error()
	}
	var network net.Error
	errors.As(err, &network)
	return network.Error()
}
