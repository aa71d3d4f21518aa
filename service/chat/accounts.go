package chat

import (
	"context"

	"github.com/smart-assistant/platform/service/account"
)

// accounts are the users of package account.
type accounts struct{ service *account.Service }

// FromAccounts makes Users of the service's accounts.
func FromAccounts(service *account.Service) Users { return accounts{service} }

func (a accounts) Authenticate(_ context.Context, accessToken string) (string, error) {
	return a.service.Authenticate(accessToken)
}

func (a accounts) ByEmail(context.Context, string) (string, error) { return "", ErrNoUser }
