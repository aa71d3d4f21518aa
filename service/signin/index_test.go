package signin_test

import (
	"testing"

	"github.com/smart-assistant/platform/test/database"
)

func TestIndexes(t *testing.T) {
	database.WantIndexes(t, database.Start(t).Pool(t), "queries.sql")
}
