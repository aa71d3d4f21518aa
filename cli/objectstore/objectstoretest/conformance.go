// Package objectstoretest owns what tests need of object stores: the suite that every implementation passes, stores that fail in
// a chosen way, and a real S3 server of the test's own.
package objectstoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/objectstore"
)

// Conformance holds a Store to its contract. Each call of open gives an empty store.
func Conformance(t *testing.T, open func(t *testing.T) objectstore.Store) {
	for _, part := range []struct {
		name string
		test func(*testing.T, objectstore.Store)
	}{
		{"what is put is got", putGet},
		{"put starts at the body's position", putFromPosition},
		{"an absent object", absentObject},
		{"if absent", ifAbsent},
		{"if match", ifMatch},
		{"racing conditions have one winner", race},
		{"a failed put leaves nothing", failedPut},
		{"a reader sees one version", wholeVersions},
		{"list", list},
		{"list of more than a page", listPages},
		{"delete", deleteObjects},
		{"odd keys", oddKeys},
		{"the store's clock", clock},
		{"a cancelled context", cancelled},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, open(t)) })
	}
}

// content is size bytes that differ for each seed.
func content(seed, size int) []byte {
	b := make([]byte, size)
	x := uint32(seed)*2654435761 + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func mustPut(t *testing.T, s objectstore.Store, key string, body []byte, cond objectstore.Condition) objectstore.Attributes {
	t.Helper()
	a, err := s.Put(t.Context(), key, bytes.NewReader(body), cond)
	if err != nil {
		t.Fatalf("Put %s: %v", key, err)
	}
	return a
}

func read(ctx context.Context, s objectstore.Store, key string) ([]byte, objectstore.Attributes, error) {
	body, a, err := s.Get(ctx, key)
	if err != nil {
		return nil, a, err
	}
	b, err := io.ReadAll(body)
	return b, a, errors.Join(err, body.Close())
}

func wantContent(t *testing.T, s objectstore.Store, key string, want []byte) objectstore.Attributes {
	t.Helper()
	got, a, err := read(t.Context(), s, key)
	if err != nil {
		t.Fatalf("Get %s: %v", key, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("Get %s: %d bytes that are not the %d that were put", key, len(got), len(want))
	}
	return a
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got error %v, want %v", what, err, want)
	}
}

func putGet(t *testing.T, s objectstore.Store) {
	etags := map[string]bool{}
	for i, size := range []int{0, 1, 4096, 3<<20 + 17, 0} {
		body := content(i, size)
		put := mustPut(t, s, "some/key", body, objectstore.Always())
		got := wantContent(t, s, "some/key", body)
		stat, err := s.Stat(t.Context(), "some/key")
		if err != nil {
			t.Fatalf("Stat: %v", err)
		}
		for _, a := range []objectstore.Attributes{put, got, stat} {
			if a.Key != "some/key" || a.Size != int64(size) || a.ETag == "" || a.ETag != put.ETag {
				t.Errorf("size %d: attributes %+v differ from those of Put %+v", size, a, put)
			}
		}
		etags[put.ETag] = true
	}
	if len(etags) != 4 {
		t.Errorf("4 different contents have %d ETags", len(etags))
	}
}

func putFromPosition(t *testing.T, s objectstore.Store) {
	for _, size := range []int{100, 2 << 20} {
		body := content(1, size)
		r := bytes.NewReader(body)
		if _, err := r.Seek(10, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		a, err := s.Put(t.Context(), "tail", r, objectstore.Always())
		if err != nil || a.Size != int64(size-10) {
			t.Fatalf("Put: %+v, %v", a, err)
		}
		wantContent(t, s, "tail", body[10:])
	}
}

func absentObject(t *testing.T, s objectstore.Store) {
	mustPut(t, s, "there/a", []byte("x"), objectstore.Always())
	for _, key := range []string{"nowhere", "there/b", "there"} {
		_, _, err := s.Get(t.Context(), key)
		wantError(t, "Get "+key, err, objectstore.ErrNotExist)
		_, err = s.Stat(t.Context(), key)
		wantError(t, "Stat "+key, err, objectstore.ErrNotExist)
	}
}

func ifAbsent(t *testing.T, s objectstore.Store) {
	mustPut(t, s, "k", []byte("first"), objectstore.IfAbsent())
	for range 2 {
		_, err := s.Put(t.Context(), "k", strings.NewReader("second"), objectstore.IfAbsent())
		wantError(t, "Put over an object", err, objectstore.ErrPrecondition)
		wantContent(t, s, "k", []byte("first"))
	}
	_, err := s.Put(t.Context(), "k", bytes.NewReader(content(1, 3<<20)), objectstore.IfAbsent())
	wantError(t, "Put of a large body over an object", err, objectstore.ErrPrecondition)
	if err := s.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, "k", []byte("third"), objectstore.IfAbsent())
	wantContent(t, s, "k", []byte("third"))
}

func ifMatch(t *testing.T, s objectstore.Store) {
	_, err := s.Put(t.Context(), "k", strings.NewReader("x"), objectstore.IfMatch(`"d41d8cd98f00b204e9800998ecf8427e"`))
	wantError(t, "Put on an absent object", err, objectstore.ErrPrecondition)
	_, err = s.Stat(t.Context(), "k")
	wantError(t, "Stat after it", err, objectstore.ErrNotExist)

	first := mustPut(t, s, "k", []byte("first"), objectstore.Always())
	second := mustPut(t, s, "k", []byte("second"), objectstore.IfMatch(first.ETag))
	_, err = s.Put(t.Context(), "k", strings.NewReader("third"), objectstore.IfMatch(first.ETag))
	wantError(t, "Put on a stale ETag", err, objectstore.ErrPrecondition)
	wantContent(t, s, "k", []byte("second"))

	stat, err := s.Stat(t.Context(), "k")
	if err != nil || stat.ETag != second.ETag {
		t.Fatalf("Stat: %+v, %v; want ETag %s", stat, err, second.ETag)
	}
	mustPut(t, s, "k", []byte("fourth"), objectstore.IfMatch(stat.ETag))
	wantContent(t, s, "k", []byte("fourth"))
}

func race(t *testing.T, s objectstore.Store) {
	cond := objectstore.IfAbsent()
	for round := range 4 {
		const writers = 16
		errs := make([]error, writers)
		won := make([]objectstore.Attributes, writers)
		var group sync.WaitGroup
		for i := range writers {
			group.Go(func() {
				won[i], errs[i] = s.Put(t.Context(), "k", strings.NewReader(fmt.Sprintf("round %d writer %d", round, i)), cond)
			})
		}
		group.Wait()
		winner := slices.Index(errs, nil)
		if winner < 0 {
			t.Fatalf("round %d: nobody won: %v", round, errs)
		}
		for i, err := range errs {
			if i != winner && !errors.Is(err, objectstore.ErrPrecondition) {
				t.Errorf("round %d: writer %d won, and writer %d got %v", round, winner, i, err)
			}
		}
		wantContent(t, s, "k", fmt.Appendf(nil, "round %d writer %d", round, winner))
		cond = objectstore.IfMatch(won[winner].ETag)
	}
}

func failedPut(t *testing.T, s objectstore.Store) {
	bad := &failingBody{bytes.NewReader(content(1, 2<<20))}
	if _, err := s.Put(t.Context(), "half", bad, objectstore.Always()); !errors.Is(err, errBody) {
		t.Errorf("Put of a body that fails: %v, want %v", err, errBody)
	}
	_, err := s.Stat(t.Context(), "half")
	wantError(t, "Stat", err, objectstore.ErrNotExist)
	for a, err := range s.List(t.Context(), "") {
		t.Errorf("List yields %+v, %v", a, err)
	}
}

var errBody = errors.New("the body fails")

// failingBody fails in its second half.
type failingBody struct{ r *bytes.Reader }

func (b *failingBody) Seek(offset int64, whence int) (int64, error) { return b.r.Seek(offset, whence) }

func (b *failingBody) Read(p []byte) (int, error) {
	if int64(b.r.Len()) < b.r.Size()/2 {
		return 0, errBody
	}
	return b.r.Read(p[:min(len(p), 64<<10)])
}

// wholeVersions reads while another overwrites: each read is one version, never a mixture.
func wholeVersions(t *testing.T, s objectstore.Store) {
	versions := [][]byte{bytes.Repeat([]byte("a"), 2<<20), bytes.Repeat([]byte("b"), 1<<20)}
	mustPut(t, s, "k", versions[0], objectstore.Always())
	done := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < 20 && err == nil; i++ {
			_, err = s.Put(context.WithoutCancel(t.Context()), "k", bytes.NewReader(versions[i%2]), objectstore.Always())
		}
		done <- err
	}()
	for reading := true; reading; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("Put: %v", err)
			}
			reading = false
		default:
		}
		got, a, err := read(t.Context(), s, "k")
		if err != nil {
			t.Fatalf("Get: %v", err)
		}
		if int64(len(got)) != a.Size || (!bytes.Equal(got, versions[0]) && !bytes.Equal(got, versions[1])) {
			t.Fatalf("Get: %d bytes, attributes %+v: a mixture", len(got), a)
		}
	}
}

func keysOf(t *testing.T, s objectstore.Store, prefix string) []string {
	t.Helper()
	keys := []string{}
	for a, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatalf("List %q: %v", prefix, err)
		}
		keys = append(keys, a.Key)
	}
	return keys
}

func list(t *testing.T, s objectstore.Store) {
	if got := keysOf(t, s, ""); len(got) != 0 {
		t.Fatalf("an empty store lists %v", got)
	}
	all := []string{"a", "b-c", "b.c", "b/c", "b/c-d/e", "b/c0", "b0/a", "wal/1", "wal/10", "wal/2"}
	for i, key := range slices.Backward(all) {
		mustPut(t, s, key, content(i, 10+i), objectstore.Always())
	}
	for prefix, want := range map[string][]string{
		"": all, "b": all[1:7], "b/": all[3:6], "b/c": all[3:6], "wal/1": all[7:9], "wal": all[7:], "x": {}, "b/c-d/e": all[4:5], "a/": {},
	} {
		if got := keysOf(t, s, prefix); !slices.Equal(got, want) {
			t.Errorf("List %q yields %v, want %v", prefix, got, want)
		}
	}
	for a, err := range s.List(t.Context(), "b/c-d/") {
		stat, statErr := s.Stat(t.Context(), a.Key)
		if err != nil || statErr != nil || a.ETag != stat.ETag || a.Size != stat.Size || !a.LastModified.Equal(stat.LastModified) {
			t.Errorf("List yields %+v (%v), Stat %+v (%v)", a, err, stat, statErr)
		}
	}
	for range s.List(t.Context(), "") {
		break // a caller may stop at once
	}
}

func listPages(t *testing.T, s objectstore.Store) {
	const total = 1100
	next := make(chan int)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := range next {
				if _, err := s.Put(t.Context(), fmt.Sprintf("many/%04d", i), strings.NewReader("x"), objectstore.Always()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range total {
		next <- i
	}
	close(next)
	group.Wait()
	keys := keysOf(t, s, "many/")
	if len(keys) != total || !slices.IsSorted(keys) || len(slices.Compact(slices.Clone(keys))) != total {
		t.Fatalf("List yields %d keys, sorted: %v; want %d sorted, each once", len(keys), slices.IsSorted(keys), total)
	}
	if err := s.Delete(t.Context(), keys...); err != nil {
		t.Fatalf("Delete of %d: %v", total, err)
	}
	if left := keysOf(t, s, ""); len(left) != 0 {
		t.Fatalf("%d keys are left, %v first", len(left), left[0])
	}
}

func deleteObjects(t *testing.T, s objectstore.Store) {
	for _, key := range []string{"a", "b/c", "b/d", "e"} {
		mustPut(t, s, key, []byte(key), objectstore.Always())
	}
	for _, keys := range [][]string{{}, {"nowhere"}, {"a"}, {"a", "b/c", "b/nowhere"}} {
		if err := s.Delete(t.Context(), keys...); err != nil {
			t.Errorf("Delete %v: %v", keys, err)
		}
	}
	if got := keysOf(t, s, ""); !slices.Equal(got, []string{"b/d", "e"}) {
		t.Errorf("left: %v", got)
	}
	_, _, err := s.Get(t.Context(), "a")
	wantError(t, "Get of a deleted object", err, objectstore.ErrNotExist)
}

func oddKeys(t *testing.T, s objectstore.Store) {
	keys := []string{"a b", "a%20c", "a+b=c&d?e#f", "base/2026-11-24T09:12:00Z/part.000", "grüße/日本", "it's (1)*!", "q\"<x>", "~tilde/.hidden"}
	for i, key := range keys {
		mustPut(t, s, key, content(i, 100), objectstore.IfAbsent())
	}
	for i, key := range keys {
		wantContent(t, s, key, content(i, 100))
	}
	want := slices.Clone(keys)
	slices.Sort(want)
	if got := keysOf(t, s, ""); !slices.Equal(got, want) {
		t.Errorf("List yields %q, want %q", got, want)
	}
	if err := s.Delete(t.Context(), keys...); err != nil {
		t.Fatal(err)
	}
	if left := keysOf(t, s, ""); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

func clock(t *testing.T, s objectstore.Store) {
	put := mustPut(t, s, "k", []byte("x"), objectstore.Always())
	stat, err := s.Stat(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	got := wantContent(t, s, "k", []byte("x"))
	if put.ServerTime.IsZero() {
		t.Error("Put does not tell the store's clock")
	}
	for _, a := range []objectstore.Attributes{stat, got} {
		if a.LastModified.IsZero() || a.LastModified.Nanosecond() != 0 {
			t.Errorf("LastModified %v is not in whole seconds", a.LastModified)
		}
		// Both are cut to seconds, and a server may renew its Date header once a second only.
		if age := a.ServerTime.Sub(a.LastModified); age < -2*time.Second || age > time.Minute {
			t.Errorf("an object just written is %v old by the store's clock (%+v)", age, a)
		}
	}
}

func cancelled(t *testing.T, s objectstore.Store) {
	mustPut(t, s, "k", []byte("x"), objectstore.Always())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Put(ctx, "new", strings.NewReader("x"), objectstore.IfAbsent())
	wantError(t, "Put", err, context.Canceled)
	_, _, err = s.Get(ctx, "k")
	wantError(t, "Get", err, context.Canceled)
	_, err = s.Stat(ctx, "k")
	wantError(t, "Stat", err, context.Canceled)
	for _, err = range s.List(ctx, "") {
		break
	}
	wantError(t, "List", err, context.Canceled)
	wantError(t, "Delete", s.Delete(ctx, "k"), context.Canceled)
	if got := keysOf(t, s, ""); !slices.Equal(got, []string{"k"}) {
		t.Errorf("the store holds %v", got)
	}
}
