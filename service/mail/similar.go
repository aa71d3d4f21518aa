package mail

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/mail/index"
	"github.com/smart-assistant/platform/service/mail/maildb"
)

const (
	defaultSimilar = 10
	maxSimilar     = 100
	maxMeaning     = 8000 // bytes of a text that its vector stands for

	// maxCompared is how many of a user's messages, the newest, a text is compared with: each costs the database and this process about a
	// tenth of a millisecond.
	maxCompared = 20_000
	// Comparing holds a connection of the pool for seconds: so many users do it at once in a replica, and others wait for a while.
	maxComparing      = 2
	comparingPatience = 2 * time.Second
)

// Alike is what was found by meaning.
type Alike struct {
	Items    []Summary `json:"items"`
	Complete bool      `json:"complete" doc:"Whether all of the mail was compared: not when there are more than 20,000 messages, of which the newest are, or while the language model has not read all of them yet"`
}

// meaning is the text that a message's vector stands for.
func meaning(fromName, subject, text string) string {
	return fromName + "\n" + subject + "\n" + text[:min(len(text), maxMeaning)]
}

// Similar returns the messages whose meaning is nearest to a text, best first. The vectors are the language model's where there is one for
// them and it answers, otherwise the built-in ones (index.Embed). An InvalidError when the text says nothing; ErrTwice or ErrBusy while the
// user, or too many others, look for something.
func (s *Service) Similar(ctx context.Context, userID, text string, limit int) (Alike, error) {
	model, vector, err := s.vectorOf(ctx, userID, text)
	if err != nil {
		return Alike{}, err
	}
	if vector == nil {
		return Alike{}, &InvalidError{"text", "has no word to compare"}
	}
	return s.nearest(ctx, userID, model, vector, limit, "")
}

// SimilarTo returns the messages whose meaning is nearest to that of one of them, best first. ErrNotFound when the user has none of this id;
// ErrTwice and ErrBusy as with Similar.
func (s *Service) SimilarTo(ctx context.Context, userID, id string, limit int) (Alike, error) {
	if _, err := s.Get(ctx, userID, id); err != nil {
		return Alike{}, err
	}
	db := maildb.New(s.config.Pool)
	for _, model := range []string{s.config.Upstream.EmbeddingModel(), index.Model} {
		vector, err := db.EmailVector(ctx, maildb.EmailVectorParams{UserID: userID, ItemID: id, Model: model})
		if err == nil {
			return s.nearest(ctx, userID, model, vector, limit, id)
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return Alike{}, fmt.Errorf("read the vector of message %s: %w", id, err)
		}
	}
	return Alike{[]Summary{}, true}, nil // a message without words is like none
}

// vectorOf is a text's vector and the model that made it; nil for a text without words.
func (s *Service) vectorOf(ctx context.Context, userID, text string) (model string, vector []float32, err error) {
	if model = s.config.Upstream.EmbeddingModel(); model != "" {
		made, err := s.config.Upstream.Embed(ctx, []string{text})
		if err == nil && len(made) == 1 {
			return model, unit(made[0]), nil
		}
		if ctx.Err() != nil {
			return "", nil, fmt.Errorf("embed a text: %w", err)
		}
		s.config.Log.WarnContext(ctx, "search by the built-in vectors: the language model made none", "error", err)
	}
	user, err := s.indexOf(ctx, s.config.Pool, userID)
	if err != nil {
		return "", nil, err
	}
	return index.Model, unit(user.index.Embed(text)), nil
}

// unit scales a vector to length 1, nil when it has no direction.
func unit(vector []float32) []float32 {
	square := 0.0
	for _, v := range vector {
		square += float64(v) * float64(v)
	}
	if square == 0 || math.IsInf(square, 0) || math.IsNaN(square) {
		return nil
	}
	scaled := make([]float32, len(vector))
	for i, v := range vector {
		scaled[i] = float32(float64(v) / math.Sqrt(square))
	}
	return scaled
}

// nearest returns the messages with the highest cosine to a vector of length 1.
func (s *Service) nearest(ctx context.Context, userID, model string, vector []float32, limit int, except string) (Alike, error) {
	if limit <= 0 {
		limit = defaultSimilar
	}
	limit = min(limit, maxSimilar)
	neighbours, complete, err := s.compare(ctx, userID, model, vector, limit+1)
	if err != nil {
		return Alike{}, err
	}
	neighbours = slices.DeleteFunc(neighbours, func(n neighbour) bool { return n.id == except })
	list, err := s.neighbours(ctx, userID, neighbours[:min(limit, len(neighbours))])
	return Alike{list, complete}, err
}

// compare takes the user's turn and looks at the vectors.
func (s *Service) compare(ctx context.Context, userID, model string, vector []float32, limit int) (best []neighbour, complete bool, err error) {
	waiting, cancel := context.WithTimeout(ctx, comparingPatience)
	defer cancel()
	end, err := s.comparing.begin(waiting, userID)
	if err != nil {
		return nil, false, err
	}
	defer end()
	best, err = s.vectors.nearest(ctx, s.config.Pool, userID, model, vector, limit)
	if err == nil {
		err = s.config.Pool.QueryRow(ctx, allCompared, userID, s.vectors.most, model, index.Model).Scan(&complete)
	}
	if err != nil {
		return nil, false, fmt.Errorf("look for messages of %s by meaning: %w", userID, err)
	}
	return best, complete, nil
}

// neighbours reads messages in the order given.
func (s *Service) neighbours(ctx context.Context, userID string, neighbours []neighbour) ([]Summary, error) {
	ids := make([]string, len(neighbours))
	for i, n := range neighbours {
		ids[i] = n.id
	}
	rows, err := maildb.New(s.config.Pool).EmailsByID(ctx, maildb.EmailsByIDParams{UserID: userID, Ids: ids})
	if err != nil {
		return nil, fmt.Errorf("read messages of %s: %w", userID, err)
	}
	list := make([]Summary, 0, len(rows))
	for _, n := range neighbours {
		at := slices.IndexFunc(rows, func(row maildb.EmailsByIDRow) bool { return row.ID == n.id })
		if at < 0 { // deleted in the meantime
			continue
		}
		summary, err := s.summary(userID, maildb.ListEmailsRow(rows[at]))
		if err != nil {
			return nil, err
		}
		summary.Similarity = math.Round(n.similarity*1e4) / 1e4
		list = append(list, summary)
	}
	return list, nil
}

// vectors finds neighbours among the user's newest messages: with pgvector where it is installed, otherwise by looking at each of their
// vectors. Both are exact and give the same answer. (An index of pgvector's would be approximate, of one model and number of dimensions,
// and of all users at once, whose neighbours it would look at before it finds this one's.) The SQL is here and not with sqlc, which does
// not know the type vector.
type vectors struct {
	most             int // messages
	known, installed atomic.Bool
}

type neighbour struct {
	id         string
	similarity float64
}

const (
	haveVector = `SELECT to_regtype('vector') IS NOT NULL AND EXISTS (SELECT FROM pg_extension WHERE extname = 'vector')`
	newest     = `(SELECT id FROM emails WHERE user_id = $1 ORDER BY received_at DESC, id DESC LIMIT $2) e`
	itsVectors = newest + ` JOIN embeddings m ON m.item_id = e.id AND m.model = $3
		WHERE m.user_id = $1 AND m.kind = 'email' AND cardinality(m.vector) = $4`
	allVectors = `SELECT m.item_id, m.vector FROM ` + itsVectors
	byVector   = `SELECT m.item_id, 1 - (m.vector::vector <=> $5::real[]::vector) FROM ` + itsVectors + `
		ORDER BY m.vector::vector <=> $5::real[]::vector, m.item_id LIMIT $6`
	// allCompared says whether there are no older messages and, unless the model is the built-in one, which reads each message when it
	// comes, none without a vector.
	allCompared = `SELECT NOT EXISTS (SELECT FROM emails WHERE user_id = $1 ORDER BY received_at DESC, id DESC OFFSET $2 LIMIT 1)
		AND ($3::text = $4 OR NOT EXISTS (SELECT FROM ` + newest + ` WHERE NOT EXISTS
			(SELECT FROM embeddings m WHERE m.item_id = e.id AND m.model = $3)))`
)

// querier is a pool or a connection.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func (v *vectors) nearest(ctx context.Context, db querier, userID, model string, vector []float32, limit int) ([]neighbour, error) {
	if !v.known.Load() {
		var installed bool
		if err := db.QueryRow(ctx, haveVector).Scan(&installed); err != nil {
			return nil, err
		}
		v.installed.Store(installed)
		v.known.Store(true)
	}
	if !v.installed.Load() {
		return scan(ctx, db, userID, v.most, model, vector, limit)
	}
	rows, err := db.Query(ctx, byVector, userID, v.most, model, len(vector), vector, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (n neighbour, err error) {
		err = row.Scan(&n.id, &n.similarity)
		return n, err
	})
}

// scan streams the vectors of the newest messages and keeps the best.
func scan(ctx context.Context, db querier, userID string, most int, model string, vector []float32, limit int) ([]neighbour, error) {
	rows, err := db.Query(ctx, allVectors, pgx.QueryResultFormats{pgx.BinaryFormatCode, pgx.BinaryFormatCode}, userID, most, model, len(vector))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	order := func(a, b neighbour) int {
		return cmp.Or(cmp.Compare(b.similarity, a.similarity), cmp.Compare(a.id, b.id))
	}
	var best []neighbour
	for rows.Next() {
		values := rows.RawValues()
		id, err := uuid.FromBytes(values[0])
		if err != nil {
			return nil, err
		}
		one := neighbour{id.String(), dot(values[1], vector)}
		at, _ := slices.BinarySearchFunc(best, one, order)
		if at < limit {
			best = slices.Insert(best[:min(len(best), limit-1)], at, one)
		}
	}
	return best, rows.Err()
}

// dot multiplies an array as PostgreSQL sends it (array_send: 20 bytes of header, then each element with its length before it) with a
// vector of as many elements. Both have length 1, so that it is their cosine.
func dot(array []byte, vector []float32) float64 {
	const header, element = 20, 8
	if len(array) != header+element*len(vector) { // it holds a NULL, which nobody writes
		return -1
	}
	sum := 0.0
	for i, v := range vector {
		sum += float64(v) * float64(math.Float32frombits(binary.BigEndian.Uint32(array[header+element*i+4:])))
	}
	return sum
}
