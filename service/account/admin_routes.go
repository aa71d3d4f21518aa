package account

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/smart-assistant/platform/service/api"
)

type (
	userList      struct{ Body api.List[User] }
	userAnswer    struct{ Body User }
	rotationAsked struct {
		Body *struct {
			Revoke bool `json:"revoke,omitempty" doc:"For keys that leaked: those before check no more at once, and every client has to refresh"`
		}
	}
	keyAnswer     struct{ Body Rotation }
	keyList       struct{ Body api.List[SigningKey] }
	usersQuestion struct {
		api.Page
		EmailPrefix string `query:"email_prefix" maxLength:"254" doc:"Only users whose address begins with it, in whatever case"`
	}
	auditQuestion struct {
		api.Page
		UserID string `query:"user_id" format:"uuid" doc:"Only what was done to this user's account"`
	}
	ofUser struct {
		ID string `path:"id" format:"uuid" doc:"Of a user"`
	}
)

// adminRoutes let in administrators only.
func (s *Service) adminRoutes(private huma.API) {
	admin := huma.NewGroup(private)
	admin.UseMiddleware(s.requireAdmin(private))
	admin.UseSimpleModifier(func(op *huma.Operation) {
		op.Tags = []string{"admin"}
		op.Errors = append(op.Errors, http.StatusForbidden)
	})
	huma.Register(admin, huma.Operation{
		OperationID: "list-users", Method: http.MethodGet, Path: "/api/v1/admin/users", Summary: "List users",
		Description: "By address. Administrators see accounts, not what is in them.",
	}, func(ctx context.Context, in *usersQuestion) (*userList, error) {
		users, next, err := s.Users(ctx, in.EmailPrefix, in.Page)
		return &userList{api.List[User]{Items: users, NextCursor: next}}, problem(err)
	})
	s.userRoutes(admin)
	huma.Register(admin, huma.Operation{
		OperationID: "list-signing-keys", Method: http.MethodGet, Path: "/api/v1/admin/signing-keys", Summary: "List the keys of access tokens",
		Description: "Those that rotation made, the newest first. The keys of the operator's file are not among them.",
	}, func(ctx context.Context, _ *struct{}) (*keyList, error) {
		keys, err := s.SigningKeys(ctx)
		return &keyList{api.List[SigningKey]{Items: keys}}, problem(err)
	})
	huma.Register(admin, huma.Operation{
		OperationID: "rotate-signing-keys", Method: http.MethodPost, Path: "/api/v1/admin/signing-keys", DefaultStatus: http.StatusCreated,
		Summary: "Make a new key for access tokens",
		Description: "It is published at once and signs some minutes later; the keys before it check until their tokens have ended. Nobody is logged out. " +
			"With revoke, for keys that leaked, those before check no more at once, on every replica; sessions go on with their next refresh. " +
			"Keys of the operator's file stay: the answer names them.",
	}, func(ctx context.Context, in *rotationAsked) (*keyAnswer, error) {
		key, err := s.RotateKeys(ctx, UserID(ctx), in.Body != nil && in.Body.Revoke)
		return &keyAnswer{key}, problem(err)
	})
	huma.Register(admin, huma.Operation{
		OperationID: "list-audit-events", Method: http.MethodGet, Path: "/api/v1/admin/audit", Summary: "Read the audit log",
		Description: "The newest first.",
	}, func(ctx context.Context, in *auditQuestion) (*auditList, error) {
		events, next, err := s.Audit(ctx, in.UserID, in.Page)
		return &auditList{api.List[AuditEvent]{Items: events, NextCursor: next}}, problem(err)
	})
}

// userRoutes are those of one user; each answers with the user as it is then.
func (s *Service) userRoutes(admin huma.API) {
	huma.Register(admin, huma.Operation{
		OperationID: "get-user", Method: http.MethodGet, Path: "/api/v1/admin/users/{id}", Summary: "Read a user",
		Description: "The account, not what is in it.", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *ofUser) (*userAnswer, error) { return s.userAs(ctx, in.ID, nil) })
	for _, verb := range []struct {
		name, summary, description string
		do                         func(ctx context.Context, admin, userID string) error
	}{
		{"disable", "Disable a user", "The user is out at once, on every replica, and cannot log in until enabled again.", s.Disable},
		{"enable", "Enable a user", "A disabled user can log in again. Sessions that were ended stay so.", s.Enable},
		{"verify", "Verify a user's address", "For a service that sends no mail: you say that the account belongs to whom its address belongs to. Ask them, " +
			"over another way than this service, whether they made the account. What is in it stays, other ways to log in as well.", s.VerifyUser},
		{"unlock", "Unlock a user", "Forgets failed log-ins, and ends the lock that they brought.", s.Unlock},
	} {
		huma.Register(admin, huma.Operation{
			OperationID: verb.name + "-user", Method: http.MethodPost, Path: "/api/v1/admin/users/{id}/" + verb.name,
			Summary: verb.summary, Description: verb.description, Errors: []int{http.StatusNotFound, http.StatusConflict},
		}, func(ctx context.Context, in *ofUser) (*userAnswer, error) {
			return s.userAs(ctx, in.ID, verb.do(ctx, UserID(ctx), in.ID))
		})
	}
}

func (s *Service) userAs(ctx context.Context, id string, err error) (*userAnswer, error) {
	var user User
	if err == nil {
		user, err = s.UserByID(ctx, id)
	}
	if errors.Is(err, ErrUnknownUser) {
		return nil, huma.Error404NotFound("there is no such user")
	}
	return &userAnswer{user}, problem(err)
}
