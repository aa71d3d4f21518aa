package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/mail/classify"
	"github.com/smart-assistant/platform/service/mail/index"
)

//go:embed fill.sql
var fillOthers string

const mailsOfOthers = 1000

// otherUser is the id of a generated user, from 1, as fill.sql writes it.
func otherUser(i int) string {
	return fmt.Sprintf("00000000-0000-0000-0000-%012x", i)
}

// writers write messages at the same time.
const writers = 4

// fill writes messages sealed and indexed as the service does it, and rows of the other tables that are only there to be planned with.
// Indexes that no constraint needs are made afterwards, which is quicker.
func fill(ctx context.Context, db *cluster, a *assistd, o options) error {
	began := time.Now()
	conn, err := db.fillingConn(ctx, o)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	indexes, err := dropIndexes(ctx, conn)
	if err != nil {
		return err
	}
	key, err := a.indexKey(ctx, conn)
	if err != nil {
		return err
	}
	group, filling := errgroup.WithContext(ctx)
	for writer := range writers {
		group.Go(func() error {
			conn, err := db.fillingConn(filling, o)
			if err != nil {
				return err
			}
			defer conn.Close(ctx)
			from, until := o.mails*writer/writers, o.mails*(writer+1)/writers
			if err := copyMails(filling, conn, a.keyring, a.userID, key, from, until); err != nil {
				return err
			}
			for i := writer; i < o.users; i += writers {
				if err := copyMails(filling, conn, a.keyring, otherUser(i+1), key, 0, mailsOfOthers); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	log.Printf("%d messages after %s", o.mails+o.users*mailsOfOthers, time.Since(began).Round(time.Second))
	if err := finish(ctx, db, conn, indexes, o); err != nil {
		return err
	}
	log.Printf("filled after %s", time.Since(began).Round(time.Second))
	return nil
}

// fillingConn is a connection that takes generated rows as they are: they refer to one another as they should, and looking each reference
// up would take longer than writing them.
func (c *cluster) fillingConn(ctx context.Context, o options) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(c.url)
	if err != nil {
		return nil, err
	}
	maps.Copy(config.RuntimeParams, map[string]string{
		"session_replication_role": "replica", "synchronous_commit": "off", "bench.rows": strconv.Itoa(o.rows),
	})
	return pgx.ConnectConfig(ctx, config)
}

// finish makes the indexes of emails while it fills the other tables, and then the others.
func finish(ctx context.Context, db *cluster, conn *pgx.Conn, indexes []string, o options) error {
	group, finishing := errgroup.WithContext(ctx)
	group.Go(func() error {
		other, err := db.fillingConn(finishing, o)
		if err != nil {
			return err
		}
		defer other.Close(ctx)
		_, err = other.Exec(finishing, fillOthers)
		return err
	})
	others := 0
	for others < len(indexes) && strings.Contains(indexes[others], " ON public.emails ") {
		others++
	}
	group.Go(func() error { return execAll(finishing, conn, indexes[:others]) })
	if err := group.Wait(); err != nil {
		return fmt.Errorf("fill the other tables, and index: %w", err)
	}
	return execAll(ctx, conn, append(indexes[others:], "VACUUM (FREEZE, ANALYZE)", "CHECKPOINT"))
}

func execAll(ctx context.Context, conn *pgx.Conn, statements []string) error {
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%.80s: %w", statement, err)
		}
	}
	return nil
}

// dropIndexes drops the indexes that no constraint needs, and returns the statements that make them again.
func dropIndexes(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, err := conn.Query(ctx, `SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index x
		WHERE indrelid IN (SELECT conrelid FROM pg_constraint WHERE contype = 'f') AND NOT indisunique
			AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = x.indexrelid)
		ORDER BY indrelid = 'emails'::regclass DESC`)
	if err != nil {
		return nil, err
	}
	var name, definition string
	var names, definitions []string
	_, err = pgx.ForEachRow(rows, []any{&name, &definition}, func() error {
		names, definitions = append(names, name), append(definitions, definition)
		return nil
	})
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, "DROP INDEX "+strings.Join(names, ", "))
	return definitions, err
}

// indexKey opens the key that the service has made for its user.
func (a *assistd) indexKey(ctx context.Context, conn *pgx.Conn) ([]byte, error) {
	var sealed []byte
	if err := conn.QueryRow(ctx, "SELECT index_key FROM user_keys WHERE user_id = $1", a.userID).Scan(&sealed); err != nil {
		return nil, fmt.Errorf("read the index key: %w", err)
	}
	return a.keyring.Open(sealed, encryption.Cell{Table: "user_keys", Column: "index_key", Owner: a.userID, Row: a.userID})
}

func copyMails(ctx context.Context, conn *pgx.Conn, keyring *encryption.Keyring, userID string, key []byte, from, until int) error {
	x, err := index.New(key)
	if err != nil {
		return err
	}
	reader, writer := io.Pipe()
	go func() {
		out := bufio.NewWriterSize(writer, 1<<20)
		var err error
		for i := from; i < until && err == nil; i++ {
			err = writeMail(out, keyring, x, userID, i)
		}
		if err == nil {
			err = out.Flush()
		}
		_ = writer.CloseWithError(err)
	}()
	_, err = conn.PgConn().CopyFrom(ctx, reader, `COPY emails (id, user_id, fingerprint, message_id, from_name, from_address, recipients, subject,
		received_at, size, category, score, reason, classifier, snippet, body, search, created_at) FROM STDIN`)
	if err != nil {
		return fmt.Errorf("copy messages: %w", err)
	}
	return nil
}

var (
	firstDay   = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	categories = []string{"application", "interview", "offer", "rejection", "newsletter", "other"}
)

// writeMail writes a message as a line of COPY's text format. Sender, subject, date and beginning are those of tools/pocketbase.
func writeMail(out io.Writer, keyring *encryption.Keyring, x *index.Index, userID string, i int) error {
	made, err := uuid.NewV7()
	if err != nil {
		return err
	}
	id := made.String()
	name, address := fmt.Sprintf("Sender %d", i%500), fmt.Sprintf("sender%d@example.org", i%500)
	subject := fmt.Sprintf("About topic%d and other matters", i%topics)
	snippet := fmt.Sprintf("Hello, this is the beginning of message %d, and it goes on.", i)
	random := rand.New(rand.NewPCG(uint64(i), 0)) //nolint:gosec // the same text each time
	var text strings.Builder
	text.WriteString(snippet)
	for range 12 {
		fmt.Fprintf(&text, " word%d", random.IntN(5000))
	}
	body, err := json.Marshal(map[string]string{"text": text.String()})
	if err != nil {
		return err
	}
	cell := encryption.Cell{Table: "emails", Column: "snippet", Owner: userID, Row: id}
	sealedSnippet, err := keyring.Seal([]byte(snippet), cell)
	if err != nil {
		return err
	}
	cell.Column = "body"
	sealedBody, err := keyring.Seal(body, cell)
	if err != nil {
		return err
	}
	at := firstDay.Add(time.Duration(i) * time.Minute).Format(time.RFC3339)
	_, err = fmt.Fprintf(out, "%s\t%s\t\\\\x%x\t<%d@example.org>\t%s\t%s\tme@example.org\t%s\t%s\t%d\t%s\t0.5\tIt says so.\t%d\t\\\\x%x\t\\\\x%x\t%s\t%s\n",
		id, userID, sha256.Sum256([]byte(id)), i, name, address, subject, at, text.Len(), categories[i%len(categories)], classify.Version,
		sealedSnippet, sealedBody, x.Document(name+" "+address, subject, text.String()), at)
	return err
}
