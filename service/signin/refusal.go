package signin

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/smart-assistant/platform/service/account"
)

// refusal is an error that the user is told: in words, and by a code where a page takes over.
type refusal struct {
	status int
	code   string
	detail string
	cause  error // for the log
}

func refuse(status int, code, detail string) *refusal {
	return &refusal{status: status, code: code, detail: detail}
}

func (r *refusal) Error() string { return r.detail }

// Is makes a refusal equal to itself with another cause.
func (r *refusal) Is(target error) bool {
	other, ok := target.(*refusal)
	return ok && other.status == r.status && other.code == r.code
}

// because is the refusal with what led to it.
func (r *refusal) because(cause error) *refusal {
	copied := *r
	copied.cause = cause
	return &copied
}

// refused turns an error into what the user is told. An error that it does not know is not one of the user's: nil.
func refused(err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	if unreachable, ok := errors.AsType[*unreachableError](err); ok {
		return refuse(http.StatusBadGateway, "provider_unavailable", "the provider does not answer as it should; try again in a while").because(unreachable)
	}
	if invalid, ok := errors.AsType[*account.InvalidError](err); ok {
		return refuse(http.StatusForbidden, "login_failed", "no account can be made of what the provider says of you: "+invalid.Error())
	}
	for _, shut := range []error{account.ErrDisabled, account.ErrUnproved} {
		if errors.Is(err, shut) {
			return refuse(http.StatusForbidden, "login_failed", shut.Error())
		}
	}
	return nil
}

// problem turns an error into what HTTP says. An error that it does not know stays as it is: the server answers 500 and logs it.
func (s *Service) problem(ctx context.Context, provider string, err error) error {
	r := refused(err)
	if r == nil {
		return err
	}
	s.report(ctx, provider, r)
	return huma.NewError(r.status, r.detail)
}

// report tells the operator why somebody was refused, where that is not the user's doing.
func (s *Service) report(ctx context.Context, provider string, r *refusal) {
	if r.cause != nil {
		s.config.Log.WarnContext(ctx, "log-in elsewhere refused", "provider", provider, "reason", r.cause)
	}
}
