package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
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

func acquire(t *testing.T, l *ledger.Ledger, purpose string) *ledger.Lease {
	t.Helper()
	lease, err := l.Acquire(t.Context(), purpose)
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = lease.Release(ctx) // ends its renewals; the bucket may be gone
	})
	return lease
}

// impatient opens prod's ledger with leases that last no longer than a busy machine may stand still.
func impatient(actor string, store objectstore.Store) *ledger.Ledger {
	return ledger.Open(store, ledger.Options{Environment: "prod", Actor: actor, TTL: 3 * time.Second})
}

func wantHeld(t *testing.T, err error) *ledger.HeldError {
	t.Helper()
	var held *ledger.HeldError
	if !errors.As(err, &held) || fault.CodeOf(err) != fault.Held || fault.HintOf(err) == "" {
		t.Fatalf("Acquire of a held lease: %v (code %d, hint %q)", err, fault.CodeOf(err), fault.HintOf(err))
	}
	return held
}

// wantLost waits for the end of the lease's context and checks its cause.
func wantLost(t *testing.T, ctx context.Context) {
	t.Helper()
	select {
	case <-ctx.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("the lease's context does not end")
	}
	if cause := context.Cause(ctx); !errors.Is(cause, ledger.ErrLeaseLost) || !errors.Is(ctx.Err(), context.Canceled) {
		t.Fatalf("the lease's context ended with %v", cause)
	}
}

// renewal waits for the next renewal of the lease.
func renewal(t *testing.T, store objectstore.Store) {
	t.Helper()
	first, err := store.Stat(t.Context(), "lease")
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		switch now, err := store.Stat(t.Context(), "lease"); {
		case err != nil:
			t.Fatal(err)
		case now.ETag != first.ETag:
			return
		case time.Now().After(deadline):
			t.Fatal("the lease is not renewed")
		}
	}
}

func TestLease(t *testing.T) {
	store := objectstoretest.S3(t)
	anna, ben := as("anna", store), as("ben", store)
	if h, err := ben.Holder(t.Context()); h != nil || err != nil {
		t.Fatalf("Holder of a lease never taken: %+v, %v", h, err)
	}
	lease := acquire(t, anna, "promote v2")
	held := wantHeld(t, func() error { _, err := ben.Acquire(t.Context(), "promote v3"); return err }())
	h, err := ben.Holder(t.Context())
	if err != nil || h == nil || *h != held.Holder {
		t.Fatalf("Holder: %+v, %v; the refusal names %+v", h, err, held.Holder)
	}
	if h.Actor != "anna" || h.Purpose != "promote v2" || h.PID != os.Getpid() || h.Fence != lease.Fence() || time.Until(h.Expires) > time.Minute {
		t.Errorf("Holder: %+v", h)
	}
	for _, part := range []string{"prod", "anna", "promote v2"} {
		if !strings.Contains(held.Error(), part) {
			t.Errorf("%q does not say %q", held, part)
		}
	}
	ctx := lease.Context(t.Context())
	if ctx.Err() != nil {
		t.Fatalf("the lease's context: %v", context.Cause(ctx))
	}
	for range 2 {
		if err := lease.Release(t.Context()); err != nil {
			t.Fatalf("Release: %v", err)
		}
	}
	if ctx.Err() == nil || errors.Is(context.Cause(ctx), ledger.ErrLeaseLost) {
		t.Errorf("after Release the context's cause is %v", context.Cause(ctx))
	}
	if h, err := ben.Holder(t.Context()); h != nil || err != nil {
		t.Fatalf("Holder after Release: %+v, %v", h, err)
	}
	second := acquire(t, ben, "promote v3")
	if second.Fence() <= lease.Fence() {
		t.Errorf("fence %d comes after %d", second.Fence(), lease.Fence())
	}
}

func TestFenceOutlivesTheLeaseObject(t *testing.T) {
	store := objectstoretest.S3(t)
	anna := as("anna", store)
	lease := acquire(t, anna, "x")
	if _, err := anna.Append(t.Context(), ledger.Entry{Kind: ledger.KindNote, Fence: lease.Fence()}); err != nil {
		t.Fatal(err)
	}
	if err := lease.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := store.Delete(t.Context(), "lease"); err != nil {
		t.Fatal(err)
	}
	if second := acquire(t, as("ben", store), "y"); second.Fence() <= lease.Fence() {
		t.Errorf("fence %d comes after %d", second.Fence(), lease.Fence())
	}
}

func TestRacingForTheLease(t *testing.T) {
	t.Parallel()
	store := objectstoretest.S3(t)
	fences := map[int64]bool{}
	for round := range 3 {
		const racers = 6
		leases := make([]*ledger.Lease, racers)
		var group sync.WaitGroup
		for i := range racers {
			l := as(fmt.Sprint("racer ", i), store)
			group.Go(func() {
				lease, err := l.Acquire(t.Context(), "race")
				var held *ledger.HeldError
				if err != nil && !errors.As(err, &held) {
					t.Errorf("Acquire: %v", err)
				}
				leases[i] = lease
			})
		}
		group.Wait()
		won := 0
		for _, lease := range leases {
			if lease == nil {
				continue
			}
			won++
			if fences[lease.Fence()] {
				t.Errorf("fence %d was given twice", lease.Fence())
			}
			fences[lease.Fence()] = true
			if err := lease.Release(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if won != 1 {
			t.Errorf("round %d: %d racers won", round, won)
		}
	}
}

func TestExpiryIsByTheStoresClock(t *testing.T) {
	t.Parallel()
	store := objectstoretest.S3(t)
	lease := acquire(t, as("anna", store), "promote v2")
	ctx := lease.Context(t.Context())

	tomorrow := func() time.Time { return time.Now().Add(24 * time.Hour) }
	fast := ledger.Open(store, ledger.Options{Environment: "prod", Actor: "ben", Now: tomorrow})
	_, err := fast.Acquire(t.Context(), "x")
	wantHeld(t, err)
	_, err = as("ben", objectstoretest.Later(store, 15*time.Second)).Acquire(t.Context(), "x")
	wantHeld(t, err)

	taken := acquire(t, as("ben", objectstoretest.Later(store, time.Minute)), "promote v3")
	if taken.Fence() != lease.Fence()+1 {
		t.Errorf("fence %d comes after %d", taken.Fence(), lease.Fence())
	}
	wantLost(t, ctx) // with the next renewal
	if err := lease.Release(t.Context()); !errors.Is(err, ledger.ErrLeaseLost) {
		t.Errorf("Release of a lost lease: %v", err)
	}
	if h, err := as("carla", store).Holder(t.Context()); err != nil || h == nil || h.Actor != "ben" {
		t.Errorf("Holder: %+v, %v", h, err)
	}
}

func TestLeaseIsRenewed(t *testing.T) {
	t.Parallel()
	store := objectstoretest.S3(t)
	anna := impatient("anna", store)
	lease := acquire(t, anna, "long work")
	ctx := lease.Context(t.Context())
	for range 5 { // three are a TTL
		renewal(t, store)
		if ctx.Err() != nil {
			t.Fatalf("the lease is lost: %v", context.Cause(ctx))
		}
	}
	_, err := impatient("ben", store).Acquire(t.Context(), "x")
	wantHeld(t, err)
}

func TestLeaseThatCannotBeRenewed(t *testing.T) {
	onLease := objectstoretest.On(objectstoretest.Put, "lease")
	for name, faulty := range map[string]func(objectstore.Store, objectstoretest.When) objectstore.Store{
		"the store fails":  objectstoretest.ErrorBefore,
		"the store blocks": objectstoretest.Blocked,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := objectstoretest.S3(t)
			var down atomic.Bool
			lease := acquire(t, impatient("anna", faulty(store, objectstoretest.While(&down, onLease))), "x")
			ctx := lease.Context(t.Context())
			renewal(t, store)
			down.Store(true)
			wantLost(t, ctx)
			if err := lease.Release(t.Context()); !errors.Is(err, ledger.ErrLeaseLost) {
				t.Errorf("Release: %v", err)
			}
			// It runs out for the others, too.
			ben := impatient("ben", store)
			for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
				second, err := ben.Acquire(t.Context(), "y")
				if err == nil {
					if err := second.Release(t.Context()); err != nil {
						t.Error(err)
					}
					break
				}
				wantHeld(t, err)
				if time.Now().After(deadline) {
					t.Fatal("the lease does not run out")
				}
			}
		})
	}
}

func TestLeaseSurvivesAFailingStore(t *testing.T) {
	onLease := objectstoretest.On(objectstoretest.Put, "lease")
	for name, faulty := range map[string]func(objectstore.Store) objectstore.Store{
		"every third answer is lost": func(s objectstore.Store) objectstore.Store {
			var n atomic.Int64
			return objectstoretest.LostAnswer(s, func(op objectstoretest.Op, key string) bool { return onLease(op, key) && n.Add(1)%3 == 1 })
		},
		"every third request is lost": func(s objectstore.Store) objectstore.Store {
			var n atomic.Int64
			return objectstoretest.ErrorBefore(s, func(op objectstoretest.Op, key string) bool { return onLease(op, key) && n.Add(1)%3 == 1 })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := objectstoretest.S3(t)
			for range 2 {
				lease := acquire(t, impatient("anna", faulty(store)), "x")
				renewal(t, store)
				if ctx := lease.Context(t.Context()); ctx.Err() != nil {
					t.Fatalf("the lease is lost: %v", context.Cause(ctx))
				}
				if err := lease.Release(t.Context()); err != nil {
					t.Fatalf("Release: %v", err)
				}
				if h, err := as("ben", store).Holder(t.Context()); h != nil || err != nil {
					t.Fatalf("Holder after Release: %+v, %v", h, err)
				}
			}
		})
	}
}

func TestReleaseWhileARenewalHangs(t *testing.T) {
	t.Parallel()
	store := objectstoretest.S3(t)
	hangs := make(chan struct{})
	var once sync.Once
	firstRenewal := objectstoretest.Nth(2, objectstoretest.On(objectstoretest.Put, "lease"))
	// The renewal is written, and its answer never comes.
	faulty := &objectstoretest.Intercepted{Store: store, Around: func(ctx context.Context, op objectstoretest.Op, key string, call func() error) error {
		if !firstRenewal(op, key) {
			return call()
		}
		if err := call(); err != nil {
			return err
		}
		once.Do(func() { close(hangs) })
		<-ctx.Done()
		return ctx.Err()
	}}
	l := ledger.Open(faulty, ledger.Options{Environment: "prod", Actor: "anna", TTL: 3 * time.Second})
	lease := acquire(t, l, "x")
	<-hangs
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := lease.Release(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Release within a time in which the store does not answer: %v", err)
	}

	second := acquire(t, as("anna", objectstoretest.Later(store, time.Minute)), "x")
	if err := second.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestReleaseAfterARenewalThatNobodySaw(t *testing.T) {
	t.Parallel()
	store := objectstoretest.S3(t)
	var puts atomic.Int64
	written := make(chan struct{})
	var once sync.Once
	// All tries of the first renewal are written or refused without an answer, and nobody can look.
	faulty := &objectstoretest.Intercepted{Store: store, Around: func(_ context.Context, op objectstoretest.Op, key string, call func() error) error {
		if key != "lease" || (op != objectstoretest.Put && op != objectstoretest.Get) {
			return call()
		}
		n := puts.Load()
		if op == objectstoretest.Put {
			n = puts.Add(1)
		}
		if n < 2 || n > 5 {
			return call()
		}
		if op == objectstoretest.Put {
			_ = call()
			once.Do(func() { close(written) })
		}
		return objectstoretest.ErrInjected
	}}
	lease := acquire(t, impatient("anna", faulty), "x")
	<-written
	if err := lease.Release(t.Context()); err != nil {
		t.Errorf("Release: %v", err)
	}
	if h, err := as("ben", store).Holder(t.Context()); h != nil || err != nil {
		t.Errorf("Holder: %+v, %v", h, err)
	}
}

func TestSuspendedMachineLosesItsLease(t *testing.T) {
	t.Parallel()
	store := objectstoretest.S3(t)
	var asleep atomic.Int64
	wallClock := func() time.Time { return time.Now().Round(0).Add(time.Duration(asleep.Load())) }
	l := ledger.Open(store, ledger.Options{Environment: "prod", Actor: "anna", TTL: 3 * time.Second, Now: wallClock})
	ctx := acquire(t, l, "x").Context(t.Context())
	asleep.Store(int64(time.Hour))
	wantLost(t, ctx)
}

func TestLeaseOutlivesTheContextOfAcquire(t *testing.T) {
	t.Parallel()
	store := objectstoretest.S3(t)
	ctx, cancel := context.WithCancel(t.Context())
	l := impatient("anna", store)
	lease, err := l.Acquire(ctx, "x")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	renewal(t, store)
	child := lease.Context(ctx)
	if child.Err() == nil || !errors.Is(context.Cause(child), context.Canceled) {
		t.Errorf("a child of a cancelled context: %v", context.Cause(child))
	}
	if err := lease.Release(t.Context()); err != nil {
		t.Errorf("Release: %v", err)
	}
}

func TestForeignAndDamagedLease(t *testing.T) {
	store := objectstoretest.S3(t)
	acquire(t, ledger.Open(store, ledger.Options{Environment: "staging", Actor: "anna"}), "x")
	_, err := as("ben", store).Acquire(t.Context(), "x")
	wantDamage(t, "a lease of staging", err, "lease")
	for _, raw := range []string{"", "{}", "null", `{"environment":"prod","fence":-1}`, "not json"} {
		put(t, store, "lease", []byte(raw))
		_, err := as("ben", store).Acquire(t.Context(), "x")
		wantDamage(t, "a lease "+strconv.Quote(raw), err, "lease")
		_, err = as("ben", store).Holder(t.Context())
		wantDamage(t, "a lease "+strconv.Quote(raw), err, "lease")
	}
}
