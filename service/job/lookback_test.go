package job_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/job"
	"github.com/smart-assistant/platform/service/mail"
)

// mailbox answers as package mail does, from memory.
type mailbox struct {
	mu   sync.Mutex
	kept map[string][]mail.Summary
}

func (m *mailbox) add(userID string, summary mail.Summary) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept == nil {
		m.kept = map[string][]mail.Summary{}
	}
	m.kept[userID] = append(m.kept[userID], summary)
}

func (m *mailbox) List(_ context.Context, userID string, filter mail.Filter, page api.Page) ([]mail.Summary, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(m.kept[userID]), func(s mail.Summary) bool {
		return s.Category != filter.Category || s.ReceivedAt.Before(filter.Since)
	})
	slices.SortFunc(list, func(a, b mail.Summary) int { return b.ReceivedAt.Compare(a.ReceivedAt) })
	return list[:min(len(list), page.Limit)], "", nil
}

func (m *mailbox) Get(_ context.Context, userID, id string) (mail.Email, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.kept[userID], func(s mail.Summary) bool { return s.ID == id })
	if i < 0 {
		return mail.Email{}, mail.ErrNotFound
	}
	return mail.Email{Summary: m.kept[userID][i]}, nil
}

// testLookBack: what mail said about an application before it was there is suggested once it is, whatever came first, and not what was
// said before it began, about another one, or by nobody sure.
func testLookBack(t *testing.T, w *world) {
	day := func(n int) time.Time { return w.clock.Now().AddDate(0, 0, n) }
	at := func(n int, score float32, category mail.Category, name, subject string) mail.Summary {
		return mail.Summary{Category: category, Score: score, FromName: name, FromAddress: "x@lever.co", Subject: subject, ReceivedAt: day(n)}
	}
	looked := `SELECT count(*) > 0 AND count(*) = count(finalized_at) FROM river_job WHERE kind = 'application_look_back' AND args->>'user_id' = $1`
	suggested := func(user string) (all []string) {
		for _, s := range get[page[job.Suggestion]](t, w, user, "/api/v1/suggestions").Items {
			all = append(all, fmt.Sprintf("%s > %s", s.Company, s.ToStatus))
		}
		return all
	}

	user := w.user(t)
	w.email(t, user, at(-300, 0.9, mail.Rejection, "Green Fields", "Your application")) // of an earlier one
	w.email(t, user, at(-1, 0.9, mail.Rejection, "Green Fields", "Your application"))   // newest first, as Gmail has it
	w.email(t, user, at(-2, 0.5, mail.Offer, "Green Fields", "Half an offer"))
	w.email(t, user, at(-3, 0.9, mail.Interview, "Other Woods", "Interview"))
	w.email(t, user, at(-4, 0.9, mail.Interview, "Green Fields", "Interview"))
	w.email(t, user, at(-9, 0.9, mail.Application, "", "Thank you for applying to Green Fields"))
	if got := suggested(user); !slices.Equal(got, []string{"Green Fields > applied"}) {
		t.Fatalf("suggested before: %q", got)
	}
	first := get[page[job.Suggestion]](t, w, user, "/api/v1/suggestions").Items[0]
	w.want(t, 200, user, "POST", "/api/v1/suggestions/"+first.ID+"/accept", nil)
	w.work(t, looked, user)
	if got, want := suggested(user), []string{"Green Fields > rejected", "Green Fields > interview"}; !slices.Equal(got, want) {
		t.Errorf("suggested once it was accepted: %q, want %q", got, want)
	}

	byHand := w.user(t)
	w.email(t, byHand, at(-300, 0.9, mail.Rejection, "Example", "Long ago"))
	w.email(t, byHand, at(-3, 0.9, mail.Interview, "Example", "Interview"))
	post[job.Application](t, w, 201, byHand, "/api/v1/applications", object{"company": "Example", "status": "interested"})
	w.work(t, looked, byHand)
	if got := suggested(byHand); !slices.Equal(got, []string{"Example > interview"}) {
		t.Errorf("suggested once it was added: %q", got)
	}
}
