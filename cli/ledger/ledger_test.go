package ledger_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/objectstore/objectstoretest"
)

func TestMain(m *testing.M) {
	if os.Getenv(holderEnv) != "" {
		holdUntilKilled()
	}
	os.Exit(m.Run())
}

// as opens prod's ledger for somebody.
func as(actor string, store objectstore.Store) *ledger.Ledger {
	return ledger.Open(store, ledger.Options{Environment: "prod", Actor: actor, TTL: 20 * time.Second})
}

func note(t *testing.T, l *ledger.Ledger, text string) ledger.Entry {
	t.Helper()
	e, err := l.Append(t.Context(), noteEntry(text))
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	return e
}

func noteEntry(text string) ledger.Entry {
	return ledger.Entry{Kind: ledger.KindNote, Step: text, Data: json.RawMessage(`{"text": "` + text + `"}`)}
}

// entries reads the chain as somebody who has not seen it before.
func entries(t *testing.T, store objectstore.Store) []ledger.Entry {
	t.Helper()
	var all []ledger.Entry
	for e, err := range as("reader", store).Entries(t.Context(), 1) {
		if err != nil {
			t.Fatalf("Entries: %v", err)
		}
		all = append(all, e)
	}
	return all
}

func wantSteps(t *testing.T, store objectstore.Store, want ...string) {
	t.Helper()
	got := []string{}
	for _, e := range entries(t, store) {
		got = append(got, e.Step)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the ledger holds %v, want %v", got, want)
	}
}

func get(t *testing.T, store objectstore.Store, key string) []byte {
	t.Helper()
	body, _, err := store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	raw, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func put(t *testing.T, store objectstore.Store, key string, raw []byte) {
	t.Helper()
	if _, err := store.Put(t.Context(), key, bytes.NewReader(raw), objectstore.Always()); err != nil {
		t.Fatal(err)
	}
}

func key(seq int) string { return fmt.Sprintf("ledger/%012d.json", seq) }

func TestChain(t *testing.T) {
	store := objectstoretest.S3(t)
	anna := as("anna", store)
	for e, err := range anna.Entries(t.Context(), 1) {
		t.Fatalf("an empty ledger yields %+v, %v", e, err)
	}
	var written []ledger.Entry
	for i := range 5 {
		written = append(written, note(t, anna, fmt.Sprint("note ", i)))
	}
	sum := sha256.Sum256(nil)
	for i, e := range written {
		raw := get(t, store, key(i+1))
		if e.Seq != int64(i+1) || e.Prev != hex.EncodeToString(sum[:]) || e.Actor != "anna" || e.Environment != "prod" || e.Time.IsZero() {
			t.Errorf("entry %d: %+v", i+1, e)
		}
		var stored ledger.Entry
		if err := json.Unmarshal(raw, &stored); err != nil || stored.Nonce != e.Nonce || string(stored.Data) != `{"text":"`+e.Step+`"}` {
			t.Errorf("object %d: %s, %v", i+1, raw, err)
		}
		sum = sha256.Sum256(raw)
	}
	next := 3
	for e, err := range as("ben", store).Entries(t.Context(), 3) {
		if err != nil || e.Seq != int64(next) {
			t.Fatalf("Entries(3) yields %+v, %v; want %d", e, err, next)
		}
		next++
	}
	if next != 6 {
		t.Errorf("Entries(3) ends before %d", next)
	}
}

func TestManyWritersLoseNothing(t *testing.T) {
	store := objectstoretest.S3(t)
	const writers, each = 4, 10
	var group sync.WaitGroup
	for w := range writers {
		l := as(fmt.Sprint("writer ", w), store)
		group.Go(func() {
			for i := range each {
				if _, err := l.Append(t.Context(), noteEntry(fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	next := map[string]int{}
	for _, e := range entries(t, store) {
		if e.Step != fmt.Sprint(next[e.Actor]) {
			t.Errorf("entry %d of %s is %s, want %d", e.Seq, e.Actor, e.Step, next[e.Actor])
		}
		next[e.Actor]++
	}
	for w := range writers {
		if n := next[fmt.Sprint("writer ", w)]; n != each {
			t.Errorf("writer %d has %d entries", w, n)
		}
	}
}

func TestAppendThroughAFailingStore(t *testing.T) {
	onPut, onGet := objectstoretest.On(objectstoretest.Put, "ledger/"), objectstoretest.On(objectstoretest.Get, "ledger/")
	for name, faulty := range map[string]func(objectstore.Store) objectstore.Store{
		"the answer is lost": func(s objectstore.Store) objectstore.Store {
			return objectstoretest.LostAnswer(s, objectstoretest.Nth(2, onPut))
		},
		"the answer is lost, and the look as well": func(s objectstore.Store) objectstore.Store {
			return objectstoretest.ErrorBefore(objectstoretest.LostAnswer(s, objectstoretest.Nth(2, onPut)), objectstoretest.Nth(1, onGet))
		},
		"the answer is lost, and the look is torn": func(s objectstore.Store) objectstore.Store {
			return objectstoretest.TornRead(objectstoretest.LostAnswer(s, objectstoretest.Nth(2, onPut)), objectstoretest.Nth(1, onGet), 20)
		},
		"the request is lost": func(s objectstore.Store) objectstore.Store {
			return objectstoretest.ErrorBefore(s, objectstoretest.Nth(2, onPut))
		},
		"all is slow": func(s objectstore.Store) objectstore.Store {
			return objectstoretest.Slow(s, onPut, 10*time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := objectstoretest.S3(t)
			l := as("anna", faulty(store))
			for _, text := range []string{"a", "b", "c"} {
				note(t, l, text)
			}
			wantSteps(t, store, "a", "b", "c")
		})
	}
}

func TestAppendThatNobodyAnswers(t *testing.T) {
	t.Parallel()
	store := objectstoretest.S3(t)
	var down atomic.Bool
	onPut, onGet := objectstoretest.On(objectstoretest.Put, "ledger/"), objectstoretest.On(objectstoretest.Get, "ledger/")
	// The first put arrives, its answer does not, and then the store is gone: nobody can know.
	faulty := objectstoretest.ErrorBefore(objectstoretest.LostAnswer(store, objectstoretest.While(&down, onPut)), objectstoretest.While(&down, onGet))
	l := as("anna", faulty)
	note(t, l, "a")
	down.Store(true)
	if _, err := l.Append(t.Context(), noteEntry("b")); !errors.Is(err, objectstoretest.ErrInjected) && !errors.Is(err, objectstore.ErrPrecondition) {
		t.Errorf("Append to a store that does not answer: %v", err)
	}
	down.Store(false)
	note(t, l, "c")
	wantSteps(t, store, "a", "b", "c")

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	blocked := as("anna", objectstoretest.Blocked(store, onPut))
	if _, err := blocked.Append(ctx, noteEntry("d")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Append to a store that blocks: %v", err)
	}
	wantSteps(t, store, "a", "b", "c")
}

func TestTornReadIsNotDamage(t *testing.T) {
	store := objectstoretest.S3(t)
	note(t, as("anna", store), "a")
	torn := objectstoretest.TornRead(store, objectstoretest.On(objectstoretest.Get, "ledger/"), 5)
	_, err := as("ben", torn).Runs(t.Context())
	if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ledger.ErrDamaged) {
		t.Errorf("a read that broke: %v", err)
	}
}

func TestListingThatPassesOverAnEntry(t *testing.T) {
	store := objectstoretest.S3(t)
	anna := as("anna", store)
	for _, text := range []string{"a", "b", "c"} {
		note(t, anna, text)
	}
	wantSteps(t, hiding{store, key(2)}, "a", "b", "c")
}

// hiding lists all but one key, as a listing may that goes on while entries are added.
type hiding struct {
	objectstore.Store
	key string
}

func (s hiding) List(ctx context.Context, prefix string) iter.Seq2[objectstore.Attributes, error] {
	return func(yield func(objectstore.Attributes, error) bool) {
		for a, err := range s.Store.List(ctx, prefix) {
			if a.Key != s.key && !yield(a, err) {
				return
			}
		}
	}
}

func TestTampering(t *testing.T) {
	edit := func(old, new string) func(t *testing.T, store objectstore.Store, key string) {
		return func(t *testing.T, store objectstore.Store, key string) {
			raw := get(t, store, key)
			changed := bytes.Replace(raw, []byte(old), []byte(new), 1)
			if bytes.Equal(raw, changed) {
				t.Fatalf("%s has no %q", raw, old)
			}
			put(t, store, key, changed)
		}
	}
	remove := func(t *testing.T, store objectstore.Store, key string) {
		if err := store.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name   string
		seq    int
		tamper func(t *testing.T, store objectstore.Store, key string)
		sound  int // entries still readable
	}{
		{"edited", 3, edit("note 3", "note x"), 3},
		{"edited by one byte of white space", 3, edit(`{"seq"`, `{ "seq"`), 3},
		{"first edited", 1, edit("anna", "eve!"), 1},
		{"newest edited", 6, edit("note 6", "note x"), 6},
		{"hash edited", 3, edit(`"prev":"`, `"prev":"0`), 2},
		{"emptied", 3, func(t *testing.T, s objectstore.Store, key string) { put(t, s, key, nil) }, 2},
		{"truncated", 3, func(t *testing.T, s objectstore.Store, key string) { put(t, s, key, get(t, s, key)[:40]) }, 2},
		{"missing", 3, remove, 2},
		{"first missing", 1, remove, 0},
		{"newest missing", 6, remove, 5},
		{"swapped with its neighbour", 3, func(t *testing.T, s objectstore.Store, k string) {
			a, b := get(t, s, k), get(t, s, key(4))
			put(t, s, k, b)
			put(t, s, key(4), a)
		}, 2},
		{"replaced by an earlier one", 3, func(t *testing.T, s objectstore.Store, k string) { put(t, s, k, get(t, s, key(2))) }, 2},
		{"of another environment", 1, edit(`"environment":"prod"`, `"environment":"test"`), 0},
		{"fence raised", 3, edit(`"fence":1`, `"fence":9`), 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			store := objectstoretest.S3(t)
			seen := as("ben", store)
			anna := as("anna", store)
			note(t, anna, "note 1")
			lease := acquire(t, anna, "six notes")
			for i := 2; i <= 6; i++ {
				e := noteEntry(fmt.Sprint("note ", i))
				e.Fence = lease.Fence()
				if _, err := anna.Append(t.Context(), e); err != nil {
					t.Fatal(err)
				}
			}
			if err := lease.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := seen.Runs(t.Context()); err != nil {
				t.Fatalf("before: %v", err)
			}
			test.tamper(t, store, key(test.seq))

			for who, l := range map[string]*ledger.Ledger{"a new reader": as("ben", store), "one that read it before": seen} {
				n := 0
				var broken error
				for e, err := range l.Entries(t.Context(), 1) {
					if broken = err; err == nil {
						n++
						if e.Seq != int64(n) {
							t.Errorf("%s: entry %d comes as the %d.", who, e.Seq, n)
						}
					}
				}
				wantDamage(t, who, broken, key(test.seq))
				if n != test.sound {
					t.Errorf("%s: %d entries before the break, want %d", who, n, test.sound)
				}
				_, err := l.Acquire(t.Context(), "whatever")
				wantDamage(t, who+": Acquire", err, key(test.seq))
				_, err = l.Append(t.Context(), noteEntry("on top"))
				wantDamage(t, who+": Append", err, key(test.seq))
			}
		})
	}
}

func wantDamage(t *testing.T, what string, err error, key string) {
	t.Helper()
	if !errors.Is(err, ledger.ErrDamaged) || fault.CodeOf(err) != fault.Damaged || fault.HintOf(err) == "" {
		t.Errorf("%s: got error %v (code %d), want damage", what, err, fault.CodeOf(err))
		return
	}
	if !strings.Contains(err.Error(), key) {
		t.Errorf("%s: %q does not name %s", what, err, key)
	}
}

func TestForeignObjectInTheLedger(t *testing.T) {
	store := objectstoretest.S3(t)
	note(t, as("anna", store), "a")
	for _, foreign := range []string{"ledger/1.json", "ledger/000000000001.json.bak", "ledger/999999999999.json"} {
		put(t, store, foreign, []byte("{}"))
		_, err := as("ben", store).Runs(t.Context())
		if want := foreign; foreign != "ledger/999999999999.json" {
			wantDamage(t, foreign, err, want)
		} else {
			wantDamage(t, foreign, err, key(2))
		}
		if err := store.Delete(t.Context(), foreign); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEntryThatIsTooLong(t *testing.T) {
	store := objectstoretest.S3(t)
	e := noteEntry("long")
	e.Data = json.RawMessage(`"` + string(bytes.Repeat([]byte("x"), 1<<20)) + `"`)
	if _, err := as("anna", store).Append(t.Context(), e); err == nil {
		t.Error("an entry of a megabyte was taken")
	}
	wantSteps(t, store)
}

func BenchmarkAppend(b *testing.B) {
	l := as("anna", objectstoretest.S3(b))
	for b.Loop() {
		if _, err := l.Append(b.Context(), noteEntry("n")); err != nil {
			b.Fatal(err)
		}
	}
}
