package chat

import (
	"context"
	"errors"

	"github.com/smart-assistant/platform/service/account"
)

// accounts are the users of package account.
type accounts struct{ service *account.Service }

// FromAccounts makes Users of the service's accounts.
func FromAccounts(service *account.Service) Users { return accounts{service} }

func (a accounts) Authenticate(ctx context.Context, accessToken string) (string, error) {
	userID, _, err := a.service.Authenticate(ctx, accessToken)
	return userID, err
}

func (a accounts) ByEmail(ctx context.Context, email string) (string, error) {
	user, err := a.service.UserByEmail(ctx, email)
	if errors.Is(err, account.ErrUnknownUser) || err == nil && user.DisabledAt != nil {
		return "", ErrNoUser
	}
	return user.ID, err
}
