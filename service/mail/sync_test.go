package mail

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/mail/maildb"
	"github.com/smart-assistant/platform/service/outbound"
	"github.com/smart-assistant/platform/service/work"
	"github.com/smart-assistant/platform/test/database"
	"github.com/smart-assistant/platform/test/dovecot"
)

// TestConnections runs against one PostgreSQL server and one Dovecot; each test has a database and users of its own.
func TestConnections(t *testing.T) {
	postgres, imapServer := database.Start(t), dovecot.Start(t)
	for name, test := range map[string]func(*testing.T, *syncWorld){
		"imap/first and later syncs":    testIMAPSyncs,
		"imap/another UIDVALIDITY":      testIMAPRenumbered,
		"imap/a mailbox goes":           testIMAPMailboxGoes,
		"imap/another password":         testIMAPPassword,
		"imap/large messages":           testIMAPLarge,
		"imap/the server goes":          testIMAPUnreachable,
		"imap/killed":                   testIMAPKilled,
		"imap/a server that drips":      testIMAPDrips,
		"imap/no good-bye":              testIMAPLogout,
		"imap/a message is not sent":    testIMAPAside,
		"imap/never sent":               testIMAPGivenUp,
		"gmail/a message fails":         testGmailAside,
		"gmail/all messages fail":       testGmailIll,
		"lease/one sync at a time":      testOneSyncAtATime,
		"lease/a sync that lost it":     testLostLease,
		"lease/others get their turn":   testTurns,
		"lease/stopped and gone on":     testStopped,
		"lease/asked for while it runs": testAskedAgain,
		"lease/due":                     testDue,
		"lease/queued once":             testQueuedOnce,
		"lease/a deadlock":              testDeadlock,
		"gmail/embedded in batches":     testGmailEmbedded,
		"gmail/rescued from spam":       testGmailRescued,
		"gmail/tokens take too long":    testGmailSlowTokens,
		"gmail/delivered between pages": testGmailBetweenPages,
		"routes/imap":                   testRoutesIMAP,
		"routes/refusals":               testRoutesRefusals,
		"routes/tenants":                testRoutesTenants,
		"routes/pages":                  testRoutesPages,
		"leave/keeping messages":        testLeaveKeeping,
		"leave/recorded":                testRecorded,
		"leave/deleting messages":       testLeaveDeleting,
		"leave/gmail":                   testLeaveGmail,
		"leave/gmail, Google fails":     testLeaveGmailFails,
		"leave/gmail, connected again":  testLeaveGmailAgain,
		"leave/user deleted":            testErase,
		"gmail/first and later syncs":   testGmailSyncs,
		"gmail/the newest first":        testGmailMost,
		"gmail/history is forgotten":    testGmailHistoryForgotten,
		"gmail/faults":                  testGmailFaults,
		"gmail/tokens rotate":           testGmailTokensRotate,
		"gmail/consent withdrawn":       testGmailWithdrawn,
		"gmail/large, gone and drafts":  testGmailOddMessages,
		"gmail/killed":                  testGmailKilled,
		"no secret in the database":     testNoSecret,
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			w := &syncWorld{pool: postgres.Pool(t), dovecot: imapServer, keyring: newKeyring(t)}
			w.url = w.pool.Config().ConnString()
			w.user = w.newUser(t)
			test(t, w)
		})
	}
}

// syncWorld is one database, and a user with connections.
type syncWorld struct {
	pool    *pgxpool.Pool
	url     string
	dovecot *dovecot.Server
	keyring *encryption.Keyring
	user    string
}

var master = base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))

func newKeyring(t testing.TB) *encryption.Keyring {
	t.Helper()
	keyring, err := encryption.Parse([]byte(master), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return keyring
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// replica is connections as one process has them.
func (w *syncWorld) replica(t testing.TB, change ...func(*Config)) *connections {
	t.Helper()
	config := Config{
		Pool: w.pool, Keyring: w.keyring, Queue: work.New(work.Config{Pool: w.pool, Log: slog.New(slog.DiscardHandler)}),
		Outbound: outbound.New(loopback...), Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Caller: func(ctx context.Context) string { id, _ := ctx.Value(callerKey{}).(string); return id },
	}
	if w.dovecot != nil {
		config.Sync.Roots = w.dovecot.Roots
	}
	for _, f := range change {
		f(&config)
	}
	config.IndexKey = indexKeyOf
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := config.Queue.Build(); err != nil {
		t.Fatal(err)
	}
	return s.connections
}

// indexKeyOf makes a user's key of the user's id.
func indexKeyOf(_ context.Context, _ maildb.DBTX, userID string) ([]byte, error) {
	sum := sha256.Sum256([]byte(userID))
	return sum[:], nil
}

type callerKey struct{}

func (w *syncWorld) newUser(t testing.TB) (id string) {
	t.Helper()
	err := w.pool.QueryRow(t.Context(), `INSERT INTO users (email, password_hash, created_at) VALUES (gen_random_uuid() || '@example.org', 'x', now()) RETURNING id`).Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// take takes the job of a sync that waits, as a worker does.
func (w *syncWorld) take(t testing.TB, id string) {
	t.Helper()
	w.exec(t, `UPDATE river_job SET state = 'completed', finalized_at = now() WHERE state = 'available' AND args->>'connection_id' = $1`, id)
}

// sync runs one sync and returns the connection after it.
func (w *syncWorld) sync(t testing.TB, c *connections, id string) Connection {
	t.Helper()
	w.take(t, id)
	if err := c.syncConnection(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return w.connection(t, c, id)
}

func (w *syncWorld) connection(t testing.TB, c *connections, id string) Connection {
	t.Helper()
	seen, err := c.get(t.Context(), w.user, id)
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// subjects counts the messages that are there by their subject.
func (w *syncWorld) subjects(t testing.TB) map[string]int {
	t.Helper()
	rows, err := w.pool.Query(t.Context(), `SELECT subject, count(*) FROM emails GROUP BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	var subject string
	var n int
	if _, err := pgx.ForEachRow(rows, []any{&subject, &n}, func() error { counts[subject] = n; return nil }); err != nil {
		t.Fatal(err)
	}
	return counts
}

// exactly checks that the messages 0 to n-1 are there, each once, and no other.
func (w *syncWorld) exactly(t testing.TB, n int) {
	t.Helper()
	counts := w.subjects(t)
	for i := range n {
		if subject := fmt.Sprint("message ", i); counts[subject] != 1 {
			t.Errorf("%q is there %d times", subject, counts[subject])
		}
	}
	if len(counts) != n {
		t.Errorf("%d messages are there, want %d: %v", len(counts), n, counts)
	}
}

// numbered is message i.
func numbered(i int) []byte {
	return fmt.Appendf(nil, "Message-ID: <%d@example.org>\r\nFrom: Ada <ada@example.org>\r\nDate: Mon, 02 Mar 2026 10:00:00 +0000\r\nSubject: message %d\r\n\r\nNumber %d.\r\n", i, i, i)
}

// count is the result of a query.
func (w *syncWorld) count(t testing.TB, query string, args ...any) (n int) {
	t.Helper()
	if err := w.pool.QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func (w *syncWorld) exec(t testing.TB, query string, args ...any) {
	t.Helper()
	if _, err := w.pool.Exec(t.Context(), query, args...); err != nil {
		t.Fatal(err)
	}
}
