package server

import (
	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/briefing"
)

// parts are the pieces of the service beside accounts.
func parts(r *replica) []part {
	return []part{
		briefing.New(r.pool, r.config.Now, account.UserID),
	}
}
