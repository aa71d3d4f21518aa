package api

import (
	"bytes"
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smart-assistant/platform/service/api/apidb"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/telemetry"
)

// IdempotencyHeader names a call, so that sending it again is not doing it again (IETF draft-ietf-httpapi-idempotency-key-header).
const IdempotencyHeader = "Idempotency-Key"

const (
	keptFor  = 24 * time.Hour
	patience = time.Minute // after which a call without an answer has died with its replica
	longest  = 200         // characters of a key
	notKept  = "not kept"  // see NotKept
)

// NotKept marks an operation that takes no idempotency key, so that nothing of its calls is kept: its body is read as it comes, it changes a
// password, or its answer is for one browser.
func NotKept(op huma.Operation) huma.Operation {
	op.Metadata = maps.Clone(op.Metadata)
	if op.Metadata == nil {
		op.Metadata = map[string]any{}
	}
	op.Metadata[notKept] = true
	return op
}

// Idempotency answers a creating call that was sent again with the answer of the first one. The answers that it keeps are sealed, and requests
// are told apart by an HMAC: a plain hash would let whoever has the database guess the passwords in them, faster than bcrypt would. All of it is
// gone after a day, so that nothing is re-wrapped under a new master key.
type Idempotency struct {
	db      *apidb.Queries
	keyring *encryption.Keyring
	now     telemetry.Clock
	caller  Caller
	most    int64 // bytes of a body
}

// NewIdempotency keeps answers in the database, sealed. Bodies above most bytes are not looked at: the operation refuses them.
func NewIdempotency(pool *pgxpool.Pool, keyring *encryption.Keyring, now telemetry.Clock, caller Caller, most int64) *Idempotency {
	return &Idempotency{db: apidb.New(pool), keyring: keyring, now: now, caller: caller, most: most}
}

// answer is what is kept of an answer.
type answer struct {
	Header http.Header `json:"header"`
	Body   []byte      `json:"body"`
}

// Document adds the header to the parameters of operations that take it, once: a group within a group modifies an operation again.
func (i *Idempotency) Document(op *huma.Operation) {
	documented := slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.Name == IdempotencyHeader })
	if i.takes(op) && !documented {
		most := longest
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: IdempotencyHeader, In: "header", Description: "Any text of your own; a call with a key that was seen in the last day is answered as the first one was.",
			Schema: &huma.Schema{Type: huma.TypeString, MaxLength: &most},
		})
		op.Errors = append(op.Errors, http.StatusConflict)
	}
}

func (i *Idempotency) takes(op *huma.Operation) bool {
	return op.Method == http.MethodPost && op.Metadata[notKept] == nil
}

// Middleware stands behind the one that lets in users. A first call is done and its answer kept, unless it failed on our side (5xx): then
// it may be tried again. A second call gets that answer; while the first is under way, 409; with another body, 422.
//
// A replica that dies between doing and keeping leaves the key without an answer: a minute later the call may be done again.
func (i *Idempotency) Middleware(problems huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		key := ctx.Header(IdempotencyHeader)
		if key == "" || !i.takes(ctx.Operation()) {
			next(ctx)
			return
		}
		if err := i.once(ctx, key, next); err != nil {
			var problem huma.StatusError
			if !errors.As(err, &problem) {
				_ = huma.WriteErr(problems, ctx, http.StatusInternalServerError, "the call's idempotency key could not be looked up", err)
				return
			}
			if problem.GetStatus() == http.StatusConflict {
				ctx.SetHeader("Retry-After", "1")
			}
			_ = huma.WriteErr(problems, ctx, problem.GetStatus(), problem.Error())
		}
	}
}

// Once does for a handler outside huma what Middleware does for operations. The request's context names the caller; refuse answers what
// cannot be done by the key that came, a huma.StatusError, or what broke.
func (i *Idempotency) Once(do http.HandlerFunc, refuse func(http.ResponseWriter, *http.Request, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get(IdempotencyHeader)
		if key == "" {
			do(w, r)
			return
		}
		err := i.once(humachi.NewContext(&huma.Operation{}, r, w), key, func(ctx huma.Context) {
			request, writer := humachi.Unwrap(ctx)
			do(writer, request)
		})
		if problem, is := errors.AsType[huma.StatusError](err); is && problem.GetStatus() == http.StatusConflict {
			w.Header().Set("Retry-After", "1")
		}
		if err != nil {
			refuse(w, r, err)
		}
	}
}

func (i *Idempotency) once(ctx huma.Context, key string, next func(huma.Context)) error {
	if len(key) > longest {
		return huma.Error422UnprocessableEntity(fmt.Sprintf("%s is longer than %d characters", IdempotencyHeader, longest))
	}
	request, writer := humachi.Unwrap(ctx)
	body, err := io.ReadAll(io.LimitReader(request.Body, i.most+1))
	if err != nil {
		return huma.Error400BadRequest("the body could not be read")
	}
	request.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), request.Body))
	user, now := i.caller(ctx.Context()), i.now()
	hashes, err := i.keyring.HMAC("idempotency", slices.Concat([]byte(user+" "+request.Method+" "+request.URL.Path+"\n"), body))
	if err != nil {
		return fmt.Errorf("take idempotency key: %w", err)
	}
	taken, err := i.db.BeginAnswer(ctx.Context(), apidb.BeginAnswerParams{
		UserID: user, Key: key, RequestHash: hashes[0], RequestHashes: hashes, Now: now, LeftBefore: now.Add(-patience),
	})
	if err != nil {
		return fmt.Errorf("take idempotency key: %w", err)
	}
	if taken == 0 {
		return i.repeat(ctx, writer, user, key, hashes)
	}
	recorder := &recorder{header: http.Header{}, status: http.StatusOK}
	next(humachi.NewContext(ctx.Operation(), request.WithContext(ctx.Context()), recorder))
	// The answer is kept also when the client has gone: it will ask again.
	if err := i.keep(context.WithoutCancel(ctx.Context()), user, key, recorder); err != nil {
		return err
	}
	write(writer, recorder.status, recorder.header, recorder.body.Bytes())
	return nil
}

func (i *Idempotency) keep(ctx context.Context, user, key string, recorder *recorder) error {
	if recorder.status >= http.StatusInternalServerError {
		return i.db.ForgetAnswer(ctx, apidb.ForgetAnswerParams{UserID: user, Key: key})
	}
	text, err := json.Marshal(answer{recorder.header, recorder.body.Bytes()})
	if err != nil {
		return fmt.Errorf("keep an answer: %w", err)
	}
	sealed, err := i.keyring.Seal(text, answerCell(user, key))
	if err != nil {
		return fmt.Errorf("keep an answer: %w", err)
	}
	status := int32(recorder.status) //nolint:gosec // three digits
	if err := i.db.KeepAnswer(ctx, apidb.KeepAnswerParams{UserID: user, Key: key, Status: &status, Answer: sealed}); err != nil {
		return fmt.Errorf("keep an answer: %w", err)
	}
	return nil
}

func (i *Idempotency) repeat(ctx huma.Context, writer http.ResponseWriter, user, key string, hashes [][]byte) error {
	row, err := i.db.Answer(ctx.Context(), apidb.AnswerParams{UserID: user, Key: key})
	same := slices.ContainsFunc(hashes, func(hash []byte) bool { return hmac.Equal(hash, row.RequestHash) })
	switch {
	case errors.Is(err, pgx.ErrNoRows) || err == nil && row.Status == nil && same:
		return huma.Error409Conflict("a call with this " + IdempotencyHeader + " is being answered; ask again in a second")
	case err != nil:
		return fmt.Errorf("look up idempotency key: %w", err)
	case !same:
		return huma.Error422UnprocessableEntity("this " + IdempotencyHeader + " was used for another request; take a new one")
	}
	text, err := i.keyring.Open(row.Answer, answerCell(user, key))
	if err != nil {
		return fmt.Errorf("read a kept answer: %w", err)
	}
	var kept answer
	if err := json.Unmarshal(text, &kept); err != nil {
		return fmt.Errorf("read a kept answer: %w", err)
	}
	kept.Header.Set("Idempotency-Replayed", "true")
	write(writer, int(*row.Status), kept.Header, kept.Body)
	return nil
}

// recorder is an answer that nobody has been sent yet.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header            { return r.header }
func (r *recorder) WriteHeader(status int)         { r.status = status }
func (r *recorder) Write(text []byte) (int, error) { return r.body.Write(text) }

func answerCell(user, key string) encryption.Cell {
	return encryption.Cell{Table: "idempotency_keys", Column: "answer", Owner: user, Row: key}
}

func write(w http.ResponseWriter, status int, header http.Header, body []byte) {
	maps.Copy(w.Header(), header)
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// Sweep forgets answers that are older than a day, some hundreds at a time.
func (i *Idempotency) Sweep(ctx context.Context) (int64, error) {
	n, err := i.db.SweepAnswers(ctx, i.now().Add(-keptFor))
	if err != nil {
		return 0, fmt.Errorf("forget old answers: %w", err)
	}
	return n, nil
}
