package account

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/smart-assistant/platform/service/api"
)

// exportTimeout is the longest time of an export, whatever a request may take otherwise.
const exportTimeout = 10 * time.Minute

type (
	profileAnswer struct{ Body Profile }
	profileChange struct{ Body ProfileChange }
	sessionList   struct{ Body api.List[Session] }
	auditList     struct{ Body api.List[AuditEvent] }
	ofSession     struct {
		ID string `path:"id" format:"uuid" doc:"Of a session"`
	}
	deletion struct {
		Body *struct {
			Password *string `json:"password,omitempty" format:"password" doc:"Where it is given, nothing is deleted unless it is mine"`
		}
	}
	passwordChange struct {
		Body struct {
			Current string `json:"current_password" format:"password"`
			New     string `json:"new_password" format:"password" doc:"8 characters to 72 bytes, and none of the common ones"`
		}
	}
)

func (s *Service) meRoutes(private huma.API) {
	huma.Register(private, huma.Operation{
		OperationID: "get-me", Method: http.MethodGet, Path: "/api/v1/me", Summary: "Read my profile", Tags: []string{"me"},
		Description: "Who I am to this service, and what I have told it about me.",
	}, func(ctx context.Context, _ *struct{}) (*profileAnswer, error) {
		profile, err := s.Profile(ctx, UserID(ctx))
		return &profileAnswer{profile}, problem(err)
	})
	huma.Register(private, huma.Operation{
		OperationID: "update-me", Method: http.MethodPatch, Path: "/api/v1/me", Summary: "Change my profile", Tags: []string{"me"},
		Description: "Fields that are absent stay as they are.",
	}, func(ctx context.Context, in *profileChange) (*profileAnswer, error) {
		profile, err := s.UpdateProfile(ctx, UserID(ctx), in.Body)
		return &profileAnswer{profile}, problem(err)
	})
	huma.Register(private, huma.Operation{
		OperationID: "delete-me", Method: http.MethodDelete, Path: "/api/v1/me",
		Summary: "Delete my account and everything in it", Tags: []string{"me"},
		Description: "For good: export first what you want to keep. I am out at once, and nobody finds anything of mine any more; my address can register " +
			"anew. The deleting itself goes on for some minutes where there is much, and takes back what I consented to at Google. The audit log " +
			"keeps what was done and my id, for its retention, and nothing else. An application may ask for the password once more and send it along: 403 when it is wrong; 409 for who has none.",
		Errors: []int{http.StatusForbidden, http.StatusConflict},
	}, func(ctx context.Context, in *deletion) (*nothing, error) {
		var password *string
		if in.Body != nil {
			password = in.Body.Password
		}
		return nil, problem(s.Delete(ctx, UserID(ctx), password))
	})
	huma.Register(private, huma.Operation{
		OperationID: "export-me", Method: http.MethodGet, Path: "/api/v1/me/export", Summary: "Download everything that is kept about me",
		Description: "One JSON object, an array for each kind of thing. It is streamed; where it breaks off, so does the connection.",
		Tags:        []string{"me"}, Responses: map[string]*huma.Response{"200": {
			Description: "The export", Content: map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: "object", AdditionalProperties: true}}},
		}},
	}, s.export)
	huma.Register(private, huma.Operation{
		OperationID: "list-my-audit-events", Method: http.MethodGet, Path: "/api/v1/me/audit", Summary: "List what was done to my account",
		Description: "Log-ins, failed ones, changes of the password and the like, the newest first.", Tags: []string{"me"},
	}, func(ctx context.Context, in *struct{ api.Page }) (*auditList, error) {
		events, next, err := s.Audit(ctx, UserID(ctx), in.Page)
		return &auditList{api.List[AuditEvent]{Items: events, NextCursor: next}}, problem(err)
	})
}

func (s *Service) meSessionRoutes(private huma.API) {
	huma.Register(private, huma.Operation{
		OperationID: "list-sessions", Method: http.MethodGet, Path: "/api/v1/me/sessions", Summary: "List my sessions",
		Description: "Those that are open, the newest first.", Tags: []string{"me"},
	}, func(ctx context.Context, in *struct{ api.Page }) (*sessionList, error) {
		sessions, next, err := s.Sessions(ctx, UserID(ctx), SessionID(ctx), in.Page)
		return &sessionList{api.List[Session]{Items: sessions, NextCursor: next}}, problem(err)
	})
	huma.Register(private, huma.Operation{
		OperationID: "revoke-session", Method: http.MethodDelete, Path: "/api/v1/me/sessions/{id}", Summary: "End one of my sessions",
		Description: "At once: its access tokens are not good any more either.", Tags: []string{"me"}, Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *ofSession) (*nothing, error) {
		return nil, problem(s.RevokeSession(ctx, UserID(ctx), in.ID))
	})
	huma.Register(private, huma.Operation{
		OperationID: "logout-everywhere", Method: http.MethodPost, Path: "/api/v1/me/logout-everywhere", Summary: "End all of my sessions",
		Description: "At once, the one that asks as well.", Tags: []string{"me"}, DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, _ *struct{}) (*nothing, error) {
		return nil, problem(s.LogoutEverywhere(ctx, UserID(ctx)))
	})
	huma.Register(private, api.NotKept(huma.Operation{
		OperationID: "change-password", Method: http.MethodPost, Path: "/api/v1/me/password", Summary: "Change my password",
		Description: "It asks for the present one, and ends all other sessions. 403 when the present one is wrong; 409 for who has none; 429 after " +
			"too many wrong ones, with the time from which on it may be tried again.",
		Tags: []string{"me"}, Errors: []int{http.StatusForbidden, http.StatusConflict, http.StatusTooManyRequests}, DefaultStatus: http.StatusNoContent,
	}), func(ctx context.Context, in *passwordChange) (*nothing, error) {
		return nil, problem(s.ChangePassword(ctx, UserID(ctx), SessionID(ctx), in.Body.Current, in.Body.New))
	})
}

// export streams. An error in the middle cuts the connection, so that nobody takes half an export for a whole one.
func (s *Service) export(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
	user := UserID(ctx)
	if _, err := s.UserByID(ctx, user); err != nil {
		return nil, problem(err)
	}
	return &huma.StreamResponse{Body: func(answer huma.Context) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(answer.Context()), exportTimeout) // a client that leaves fails the writing
		defer cancel()
		_, w := humachi.Unwrap(answer)
		answer.SetHeader("Content-Type", "application/json")
		answer.SetHeader("Content-Disposition", `attachment; filename="export.json"`)
		answer.SetHeader("Cache-Control", "no-store")
		err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(exportTimeout)) // of the connection, by the system's clock
		if err == nil {
			err = s.Export(ctx, user, answer.BodyWriter())
		}
		if err != nil {
			s.config.Log.ErrorContext(ctx, "export broken off", "error", err)
			panic(http.ErrAbortHandler)
		}
	}}, nil
}
