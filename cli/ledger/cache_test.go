package ledger_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/objectstore/objectstoretest"
)

// gets reads the chain with a cache and returns how many entries were asked of the store.
func gets(t *testing.T, store objectstore.Store, cache string) (asked int64, err error) {
	t.Helper()
	var n atomic.Int64
	counting := objectstoretest.Hooked(store, objectstoretest.On(objectstoretest.Get, "ledger/"), func() { n.Add(1) })
	l := ledger.Open(counting, ledger.Options{Environment: "prod", Actor: "reader", Cache: cache})
	_, err = l.Runs(t.Context())
	return n.Load(), err
}

func wantGets(t *testing.T, store objectstore.Store, cache string, want int64) {
	t.Helper()
	if n, err := gets(t, store, cache); err != nil || n != want {
		t.Errorf("%d entries were read, want %d; %v", n, want, err)
	}
}

func TestCache(t *testing.T) {
	store := objectstoretest.S3(t)
	anna := as("anna", store)
	for i := range 4 {
		note(t, anna, fmt.Sprint(i))
	}
	cache := filepath.Join(t.TempDir(), "ledger", "prod")
	wantGets(t, store, cache, 4)
	wantGets(t, store, cache, 0)
	note(t, anna, "4")
	wantGets(t, store, cache, 1)

	raw, err := os.ReadFile(cache)
	if err != nil {
		t.Fatal(err)
	}
	write := func(raw []byte) {
		if err := os.WriteFile(cache, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(raw[:len(raw)-10])
	wantGets(t, store, cache, 1) // a line cut off
	write(append([]byte("what is this\n"), raw...))
	wantGets(t, store, cache, 0)
	write(bytes.Replace(raw, []byte("anna"), []byte("eve!"), 1))
	wantGets(t, store, cache, 5) // a lie in the cache is not damage of the ledger
	wantGets(t, store, cache, 0)

	// The other way round it is.
	put(t, store, key(2), bytes.Replace(get(t, store, key(2)), []byte("anna"), []byte("eve!"), 1))
	_, err = gets(t, store, cache)
	wantDamage(t, "an edited entry", err, key(2))

	// A new ledger in the place of the old one.
	if err := store.Delete(t.Context(), key(1), key(2), key(3), key(4), key(5)); err != nil {
		t.Fatal(err)
	}
	note(t, as("ben", store), "new")
	wantGets(t, store, cache, 1)
	wantGets(t, store, cache, 0)
	wantGets(t, store, filepath.Join(cache, "below a file"), 1) // it cannot be written
}

func BenchmarkColdRead(b *testing.B) {
	store := objectstoretest.S3(b)
	l := as("anna", store)
	for range 500 {
		if _, err := l.Append(b.Context(), noteEntry("n")); err != nil {
			b.Fatal(err)
		}
	}
	for name, cache := range map[string]string{"no cache": "", "cache": filepath.Join(b.TempDir(), "prod")} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := ledger.Open(store, ledger.Options{Environment: "prod", Actor: "reader", Cache: cache}).Runs(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
