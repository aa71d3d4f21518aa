package job

import (
	"time"

	"github.com/google/uuid"

	"github.com/smart-assistant/platform/service/api"
)

// position is where a page of a list ended that is newest first.
type position struct {
	At time.Time `json:"at"`
	ID uuid.UUID `json:"id"`
}

// begin is where a page begins: after the cursor's position, or with the newest.
func begin(page api.Page) (position, error) {
	from, given, err := api.Position[position](page.Cursor)
	if !given {
		from = position{time.Date(9999, time.December, 31, 0, 0, 0, 0, time.UTC), uuid.Max}
	}
	return from, err
}

// size is how many items a page has. A caller of the Go API may leave it out.
func size(page api.Page) int {
	if page.Limit <= 0 {
		return 50
	}
	return min(page.Limit, 200)
}

// finish cuts off the row that was read only to see whether there are more, and makes the cursor of the next page.
func finish[Row any](rows []Row, page api.Page, at func(Row) (time.Time, string)) ([]Row, string, error) {
	if len(rows) <= size(page) {
		return rows, "", nil
	}
	rows = rows[:size(page)]
	end, id := at(rows[len(rows)-1])
	parsed, err := uuid.Parse(id)
	if err != nil {
		return nil, "", err
	}
	cursor, err := api.Cursor(position{end, parsed})
	return rows, cursor, err
}

// most is the limit of a page's query: one row more than the page has.
func most(page api.Page) int32 { return int32(size(page) + 1) } //nolint:gosec // at most 201
