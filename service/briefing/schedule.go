package briefing

import (
	"context"
	"errors"
	"fmt"
	"time"

	_ "time/tzdata" // users' time zones must not depend on what the image has installed

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/briefing/briefingdb"
)

// Schedule is a time of day in a user's own time zone.
type Schedule struct {
	Enabled  bool   `json:"enabled"`
	TimeZone string `json:"time_zone" example:"Europe/Berlin" doc:"Name in the IANA time zone database"`
	At       string `json:"at" example:"07:30" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$" doc:"Local time, HH:MM"`
}

// Default is the schedule of a user who never said one.
var Default = Schedule{Enabled: false, TimeZone: "UTC", At: "07:00"}

var (
	ErrTimeZone = errors.New("time_zone is not in the IANA time zone database")
	ErrTime     = errors.New("at is not a time of day as HH:MM")

	// ErrUnknownUser is a user who was deleted while the access token is still good.
	ErrUnknownUser = errors.New("no such user")
)

// timetable reads the schedule. ErrTimeZone or ErrTime when it is none.
func (s Schedule) timetable() (timetable, error) {
	if s.TimeZone == "" || s.TimeZone == "Local" || len(s.TimeZone) > 64 {
		return timetable{}, ErrTimeZone
	}
	zone, err := time.LoadLocation(s.TimeZone)
	if err != nil {
		return timetable{}, ErrTimeZone
	}
	at, err := time.Parse("15:04", s.At)
	if err != nil {
		return timetable{}, ErrTime
	}
	return timetable{zone, at.Hour()*60 + at.Minute()}, nil
}

// Schedule reads a user's schedule, or Default.
func (s *Service) Schedule(ctx context.Context, userID string) (Schedule, error) {
	row, err := s.db.Schedule(ctx, userID)
	if errors.Is(err, pgx.ErrNoRows) {
		return Default, nil
	}
	if err != nil {
		return Schedule{}, fmt.Errorf("read briefing schedule of %s: %w", userID, err)
	}
	return Schedule{Enabled: row.Enabled, TimeZone: row.TimeZone, At: fmt.Sprintf("%02d:%02d", row.Minute/60, row.Minute%60)}, nil
}

// SetSchedule replaces a user's schedule; the next briefing comes the first time that the new one is due. ErrTimeZone or ErrTime when it
// is none, ErrUnknownUser when the user is gone.
func (s *Service) SetSchedule(ctx context.Context, userID string, schedule Schedule) error {
	table, err := schedule.timetable()
	if err != nil {
		return err
	}
	now := s.moment()
	save := briefingdb.SaveScheduleParams{
		UserID: userID, Enabled: schedule.Enabled, TimeZone: schedule.TimeZone,
		Minute: int32(table.minute), UpdatedAt: now, //nolint:gosec // below 1440
	}
	if schedule.Enabled {
		next, _ := table.next(now)
		save.NextAt = &next
	}
	err = s.db.SaveSchedule(ctx, save)
	if isForeignKeyViolation(err) {
		return ErrUnknownUser
	}
	if err != nil {
		return fmt.Errorf("save briefing schedule of %s: %w", userID, err)
	}
	return nil
}
