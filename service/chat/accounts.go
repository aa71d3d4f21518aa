package chat

import (
	"context"
	"errors"
	"fmt"

	"github.com/smart-assistant/platform/service/account"
)

// accounts are the users of package account.
type accounts struct{ service *account.Service }

// FromAccounts makes Users of the service's accounts.
func FromAccounts(service *account.Service) Users { return accounts{service} }

func (a accounts) Authenticate(ctx context.Context, accessToken string) (string, error) {
	userID, _, err := a.service.Authenticate(ctx, accessToken)
	if errors.Is(err, account.ErrAccessToken) {
		return "", fmt.Errorf("%w: %w", ErrNoUser, err)
	}
	return userID, err
}

func (a accounts) ByEmail(ctx context.Context, email string) (string, error) {
	user, err := a.service.UserByEmail(ctx, email)
	if errors.Is(err, account.ErrUnknownUser) {
		return "", ErrNoUser
	}
	if err != nil {
		return "", err
	}
	if user.VerifiedAt == nil || user.DisabledAt != nil {
		return "", ErrNoUser
	}
	return user.ID, nil
}
