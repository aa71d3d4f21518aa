// Package api is how every part of the service speaks HTTP: who calls, pages, problems, ETags and idempotency keys.
//
// It owns the table idempotency_keys and no routes.
package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/danielgtaylor/huma/v2"
)

// Caller says which user a request comes from: account.UserID in the service.
type Caller func(context.Context) (userID string)

// Page is what a list takes: embed it in a huma input.
type Page struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Most items of this page"`
	Cursor string `query:"cursor" maxLength:"500" doc:"next_cursor of the page before"`
}

// List is a page of items: the body of every list. NextCursor is empty on the last page.
type List[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor,omitempty" doc:"Ask for the next page with it; absent on the last one"`
}

// Cursor writes where a page ended. It is opaque to callers and holds nothing secret.
func Cursor(position any) (string, error) {
	text, err := json.Marshal(position)
	if err != nil {
		return "", fmt.Errorf("write a cursor: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(text), nil
}

// Position reads a cursor back. The zero position and false when there is none; a problem for the caller (422) when it is damaged.
func Position[T any](cursor string) (position T, given bool, err error) {
	if cursor == "" {
		return position, false, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err == nil {
		err = json.Unmarshal(text, &position)
	}
	if err != nil {
		return position, false, huma.Error422UnprocessableEntity("the cursor is not one that this list gave out",
			&huma.ErrorDetail{Message: "is not a cursor of this list", Location: "query.cursor"})
	}
	return position, true, nil
}
