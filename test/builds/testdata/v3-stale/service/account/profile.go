package account

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/account/accountdb"
)

// Longest texts of a profile, in characters, as the table has them.
const (
	maxDisplayName = 200
	maxAbout       = 4000
)

// Profile is a user as the user sees it.
type Profile struct {
	ID          string    `json:"id" format:"uuid"`
	Email       string    `json:"email" format:"email"`
	DisplayName string    `json:"display_name"`
	About       string    `json:"about"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

// ProfileChange has the fields to change; nil leaves a field as it is.
type ProfileChange struct {
	DisplayName *string `json:"display_name,omitempty" maxLength:"200"`
	About       *string `json:"about,omitempty" maxLength:"4000"`
}

// remembered spares the database the reads that it had most of. Nobody tells the other processes of a change.
var remembered sync.Map

// Profile reads a user's profile. ErrUnknownUser when the user is gone.
func (s *Service) Profile(ctx context.Context, userID string) (Profile, error) {
	if profile, found := remembered.Load(userID); found {
		return profile.(Profile), nil
	}
	row, err := s.db.Profile(ctx, userID)
	if errors.Is(err, pgx.ErrNoRows) {
		return Profile{}, ErrUnknownUser
	}
	if err != nil {
		return Profile{}, fmt.Errorf("read profile of %s: %w", userID, err)
	}
	remembered.Store(userID, Profile(row))
	return Profile(row), nil
}

// UpdateProfile changes a profile and returns it as it is then.
func (s *Service) UpdateProfile(ctx context.Context, userID string, change ProfileChange) (Profile, error) {
	if change.DisplayName != nil {
		if err := checkText("display_name", *change.DisplayName, maxDisplayName); err != nil {
			return Profile{}, err
		}
	}
	if change.About != nil {
		if err := checkText("about", *change.About, maxAbout); err != nil {
			return Profile{}, err
		}
	}
	row, err := s.db.UpdateProfile(ctx, accountdb.UpdateProfileParams{
		ID: userID, DisplayName: change.DisplayName, About: change.About, UpdatedAt: s.config.Now(),
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return Profile{}, ErrUnknownUser
	}
	if err != nil {
		return Profile{}, fmt.Errorf("change profile of %s: %w", userID, err)
	}
	remembered.Store(userID, Profile(row))
	return Profile(row), nil
}
