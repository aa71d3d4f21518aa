package mail

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/smart-assistant/platform/service/mail/classify"
	"github.com/smart-assistant/platform/service/mail/maildb"
	"github.com/smart-assistant/platform/service/work"
)

const (
	outdatedPage = 100
	walkPage     = 1000
	embedAtOnce  = 50
)

// addWorkers adds what goes on behind the requests: mail is classified again by a new classifier, and embedded by the language model.
func (s *Service) addWorkers(queue *work.Queue) {
	work.Add(queue, &reclassifyWorker{mail: s})
	work.Add(queue, &embedWorker{mail: s})
	work.Add(queue, &embedMissingWorker{mail: s})
	once := func(period time.Duration) *river.InsertOpts {
		return &river.InsertOpts{Queue: work.MailUpkeep, UniqueOpts: river.UniqueOpts{ByArgs: true, ByPeriod: period}}
	}
	queue.Periodic("mail_reclassify", time.Hour, func() (river.JobArgs, *river.InsertOpts) {
		return reclassifyArgs{classify.Version}, once(time.Hour)
	})
	if model := s.config.Upstream.EmbeddingModel(); model != "" {
		queue.Periodic("mail_embed_missing", 24*time.Hour, func() (river.JobArgs, *river.InsertOpts) {
			return embedMissingArgs{model}, once(24 * time.Hour)
		})
	}
}

type reclassifyArgs struct {
	Version int `json:"version"`
}

func (reclassifyArgs) Kind() string { return "mail_reclassify" }

type reclassifyWorker struct {
	river.WorkerDefaults[reclassifyArgs]
	mail *Service
}

func (w *reclassifyWorker) Timeout(*river.Job[reclassifyArgs]) time.Duration { return 30 * time.Minute }

func (w *reclassifyWorker) Work(ctx context.Context, _ *river.Job[reclassifyArgs]) error {
	for {
		n, err := w.mail.reclassify(ctx, classify.Version)
		if err != nil || n == 0 {
			return err
		}
	}
}

// reclassify asks the classifier once more about some of the messages that an older version of it has judged; not about those that a
// user has. It says how many there were.
func (s *Service) reclassify(ctx context.Context, version int) (n int, err error) {
	err = pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		db := maildb.New(tx)
		rows, err := db.OutdatedEmails(ctx, maildb.OutdatedEmailsParams{Version: int32(version), Most: outdatedPage})
		if err != nil {
			return err
		}
		n = len(rows)
		changes := make([]maildb.ReclassifyParams, n)
		for i, row := range rows {
			content, err := s.open(row.UserID, row.ID, row.Body)
			if err != nil {
				return err
			}
			result := content.classify(row.FromName, row.FromAddress, row.Subject)
			changes[i] = maildb.ReclassifyParams{
				Category: result.Category, Score: result.Score, Reason: result.Reason, Classifier: int32(version), UserID: row.UserID, ID: row.ID,
			}
		}
		db.Reclassify(ctx, changes).Exec(func(_ int, failure error) { err = errors.Join(err, failure) })
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("classify messages again: %w", err)
	}
	return n, nil
}

// embedArgs names new messages of a user.
type embedArgs struct {
	UserID string   `json:"user_id"`
	Emails []string `json:"emails"`
}

func (embedArgs) Kind() string { return "mail_embed" }

// embedLater has the language model embed messages, once they are committed. The order of ids is that of embedMissingWorker, so that a job
// which still waits is recognised.
func (s *Service) embedLater(ctx context.Context, tx pgx.Tx, userID string, ids []string) error {
	if s.config.Upstream.EmbeddingModel() == "" || s.config.Queue == nil {
		return nil
	}
	once := river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable, rivertype.JobStateRunning, rivertype.JobStateScheduled,
	}}
	ids = slices.Sorted(slices.Values(ids))
	for some := range slices.Chunk(ids, embedAtOnce) {
		if err := s.config.Queue.Insert(ctx, tx, embedArgs{userID, some}, &river.InsertOpts{Queue: work.MailUpkeep, UniqueOpts: once}); err != nil {
			return err
		}
	}
	return nil
}

type embedWorker struct {
	river.WorkerDefaults[embedArgs]
	mail *Service
}

func (w *embedWorker) Work(ctx context.Context, job *river.Job[embedArgs]) error {
	return w.mail.embed(ctx, job.Args.UserID, job.Args.Emails)
}

// embed asks the language model for the vectors of messages that have none of it yet.
func (s *Service) embed(ctx context.Context, userID string, ids []string) error {
	model := s.config.Upstream.EmbeddingModel()
	if model == "" {
		return nil
	}
	db := maildb.New(s.config.Pool)
	rows, err := db.EmailsToEmbed(ctx, maildb.EmailsToEmbedParams{UserID: userID, Ids: ids, Model: model})
	if err != nil || len(rows) == 0 {
		return err
	}
	texts := make([]string, len(rows))
	for i, row := range rows {
		content, err := s.open(userID, row.ID, row.Body)
		if err != nil {
			return err
		}
		texts[i] = meaning(row.FromName, row.Subject, content.Text)
	}
	made, err := s.config.Upstream.Embed(ctx, texts)
	if err != nil {
		return fmt.Errorf("embed %d messages: %w", len(rows), err)
	}
	if len(made) != len(rows) {
		return fmt.Errorf("embed %d messages: got %d vectors", len(rows), len(made))
	}
	var vectors []maildb.InsertEmbeddingsParams
	for i, row := range rows {
		if vector := unit(made[i]); vector != nil {
			vectors = append(vectors, maildb.InsertEmbeddingsParams{Model: model, Vector: vector, CreatedAt: s.config.Now(), EmailID: row.ID, UserID: userID})
		}
	}
	db.InsertEmbeddings(ctx, vectors).Exec(func(_ int, failure error) { err = errors.Join(err, failure) })
	return err
}

// embedMissingArgs asks for the vectors of a model that mail from before it does not have.
type embedMissingArgs struct {
	Model string `json:"model"`
}

func (embedMissingArgs) Kind() string { return "mail_embed_missing" }

type embedMissingWorker struct {
	river.WorkerDefaults[embedMissingArgs]
	mail *Service
}

func (w *embedMissingWorker) Timeout(*river.Job[embedMissingArgs]) time.Duration {
	return 30 * time.Minute
}

// Work goes through all mail in the order of its ids and makes a job for each few messages that lack a vector.
func (w *embedMissingWorker) Work(ctx context.Context, job *river.Job[embedMissingArgs]) error {
	s := w.mail
	if job.Args.Model != s.config.Upstream.EmbeddingModel() {
		return nil
	}
	db := maildb.New(s.config.Pool)
	for after := firstID; ; {
		rows, err := db.EmailsFrom(ctx, maildb.EmailsFromParams{Model: job.Args.Model, After: after, Most: walkPage})
		if err != nil {
			return fmt.Errorf("look for messages without a vector: %w", err)
		}
		missing := map[string][]string{}
		for _, row := range rows {
			if !row.Embedded {
				missing[row.UserID] = append(missing[row.UserID], row.ID)
			}
		}
		for user, ids := range missing {
			if err := s.embedLater(ctx, nil, user, ids); err != nil {
				return err
			}
		}
		if len(rows) < walkPage {
			return nil
		}
		after = rows[len(rows)-1].ID
	}
}
