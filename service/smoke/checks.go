package smoke

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

func ready(ctx context.Context, v *visitor) (string, error) {
	var answer struct {
		Schema struct{ Current, Head int64 } `json:"schema"`
	}
	if _, err := v.call(ctx, http.MethodGet, "/ready", nil, http.StatusOK, &answer); err != nil {
		return "", err
	}
	return fmt.Sprintf("schema %d, needs %d", answer.Schema.Current, answer.Schema.Head), nil
}

func version(ctx context.Context, v *visitor) (string, error) {
	var found string
	for range v.config.Reads {
		var answer struct {
			Version string `json:"version"`
		}
		header, err := v.call(ctx, http.MethodGet, "/version", nil, http.StatusOK, &answer)
		if err != nil {
			return "", err
		}
		if v.config.Version != "" && answer.Version != v.config.Version {
			return "", fmt.Errorf("%s runs %s, want %s", replica(header), answer.Version, v.config.Version)
		}
		found = answer.Version
	}
	return fmt.Sprintf("%s, %s", found, answered(v)), nil
}

func answered(v *visitor) string {
	if len(v.seen) == 1 {
		return "1 replica answered"
	}
	return fmt.Sprintf("%d replicas answered", len(v.seen))
}

func register(ctx context.Context, v *visitor) (string, error) {
	_, err := v.call(ctx, http.MethodPost, "/api/v1/auth/register",
		map[string]string{"email": v.email, "password": v.password}, http.StatusCreated, nil)
	v.registered = err == nil
	return "", err
}

func login(ctx context.Context, v *visitor) (string, error) {
	credentials := map[string]string{"email": v.email, "password": v.password + "?"}
	if _, err := v.call(ctx, http.MethodPost, "/api/v1/auth/login", credentials, http.StatusUnauthorized, nil); err != nil {
		return "", fmt.Errorf("a wrong password: %w", err)
	}
	credentials["password"] = v.password
	_, err := v.call(ctx, http.MethodPost, "/api/v1/auth/login", credentials, http.StatusOK, &v.tokens)
	return "", err
}

// profile reads from all replicas first, so that one which remembers has something stale to remember, and then looks for
// each written value on all of them.
func profile(ctx context.Context, v *visitor) (string, error) {
	if err := v.readProfile(ctx, ""); err != nil {
		return "", err
	}
	for _, name := range []string{"Smoke Test", "Smoke Test, renamed"} {
		if _, err := v.call(ctx, http.MethodPatch, "/api/v1/me", map[string]string{"display_name": name}, http.StatusOK, nil); err != nil {
			return "", err
		}
		if err := v.readProfile(ctx, name); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("2 writes, %d reads", 3*v.config.Reads), nil
}

func (v *visitor) readProfile(ctx context.Context, want string) error {
	for i := range v.config.Reads {
		var answer struct {
			Email       string `json:"email"`
			DisplayName string `json:"display_name"`
		}
		header, err := v.call(ctx, http.MethodGet, "/api/v1/me", nil, http.StatusOK, &answer)
		if err != nil {
			return fmt.Errorf("read %d of %d: %w", i+1, v.config.Reads, err)
		}
		if answer.Email != v.email || answer.DisplayName != want {
			return fmt.Errorf("read %d of %d: %s says that the profile of %s has the name %q, but %q was written",
				i+1, v.config.Reads, replica(header), answer.Email, answer.DisplayName, want)
		}
	}
	return nil
}

// refresh takes new tokens and uses them: the new access token for a read, the new refresh token for another refresh.
func refresh(ctx context.Context, v *visitor) (string, error) {
	for range 2 {
		before := v.tokens.Refresh
		_, err := v.call(ctx, http.MethodPost, "/api/v1/auth/refresh", map[string]string{"refresh_token": before}, http.StatusOK, &v.tokens)
		if err != nil {
			return "", err
		}
		if v.tokens.Refresh == before {
			return "", fmt.Errorf("the refresh token was not replaced")
		}
	}
	_, err := v.call(ctx, http.MethodGet, "/api/v1/me", nil, http.StatusOK, nil)
	return "", err
}

// mail imports a message, and finds and opens it on all replicas: one that has another master key, or none of the newest, opens nothing.
func mail(ctx context.Context, v *visitor) (string, error) {
	const subject, text = "Smoke test", "This text is stored encrypted."
	message := "From: " + v.email + "\r\nSubject: " + subject + "\r\nMessage-ID: <" + v.email + ">\r\n\r\n" + text + "\r\n"
	if _, err := v.call(ctx, http.MethodPost, "/api/v1/mail-imports", message, http.StatusOK, nil); err != nil {
		return "", err
	}
	for i := range v.config.Reads {
		var found struct {
			Items []struct{ ID, Subject string }
		}
		header, err := v.call(ctx, http.MethodGet, "/api/v1/emails/search?q=encrypted", nil, http.StatusOK, &found)
		if err != nil {
			return "", fmt.Errorf("search %d of %d: %w", i+1, v.config.Reads, err)
		}
		if len(found.Items) != 1 || found.Items[0].Subject != subject {
			return "", fmt.Errorf("search %d of %d: %s finds %d messages, but one with the subject %q was imported",
				i+1, v.config.Reads, replica(header), len(found.Items), subject)
		}
		var opened struct{ Text string }
		if header, err = v.call(ctx, http.MethodGet, "/api/v1/emails/"+found.Items[0].ID, nil, http.StatusOK, &opened); err != nil {
			return "", fmt.Errorf("read %d of %d: %w", i+1, v.config.Reads, err)
		}
		if strings.TrimSpace(opened.Text) != text {
			return "", fmt.Errorf("read %d of %d: %s opens the message as %.100q, but %q was imported", i+1, v.config.Reads, replica(header), opened.Text, text)
		}
	}
	return fmt.Sprintf("1 import, %d searches and reads", v.config.Reads), nil
}

// remove deletes the user, whom a failed check may have left logged out.
func remove(ctx context.Context, v *visitor) (string, error) {
	if v.tokens.Access == "" {
		if _, err := login(ctx, v); err != nil {
			return "", fmt.Errorf("%s stays behind: %w", v.email, err)
		}
	}
	if _, err := v.call(ctx, http.MethodDelete, "/api/v1/me", nil, http.StatusNoContent, nil); err != nil {
		return "", err
	}
	_, err := v.call(ctx, http.MethodPost, "/api/v1/auth/login",
		map[string]string{"email": v.email, "password": v.password}, http.StatusUnauthorized, nil)
	return "", err
}
