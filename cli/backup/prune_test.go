package backup_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/objectstore/objectstoretest"
)

// keepTwo leaves the two newest of three fabricated backups.
var keepTwo = backup.PruneOptions{Policy: backup.Policy{KeepLast: 2}}

func TestPruneRemovesWhatThePlanSaysAndNothingElse(t *testing.T) {
	store := objectstoretest.S3(t)
	r := repository(t, store)
	ids := fabricate(t, r, 5)
	put(t, store, "keys/1/identity.age", "wal/1/0001", "base/s-20261010-101010/base.tar.zst.age.000001", "base/readme/x")

	plan, err := r.PlanPrune(t.Context(), keepTwo)
	if err != nil {
		t.Fatal(err)
	}
	if got := removed(plan); !slices.Equal(got, ids[:3]) {
		t.Errorf("plan removes %v, want %v", got, ids[:3])
	}
	if len(plan.Leftovers) != 2 || plan.Leftovers[0].Remove || plan.Leftovers[1].Remove ||
		!strings.Contains(plan.Leftovers[1].Why, "may be under way") || !strings.Contains(plan.Leftovers[0].Why, "not of a backup's name") {
		t.Errorf("leftovers: %+v", plan.Leftovers)
	}
	before := keysIn(t, store)
	if plan.Removals() != 3 || plan.Empty() || plan.Freed() != 3*backupBytes(t, r, ids[0]) {
		t.Errorf("%d removals free %d bytes, want 3 and %d", plan.Removals(), plan.Freed(), 3*backupBytes(t, r, ids[0]))
	}
	if err := r.Prune(t.Context(), plan, quiet{}); err != nil {
		t.Fatal(err)
	}
	want := slices.DeleteFunc(before, func(key string) bool {
		return slices.ContainsFunc(ids[:3], func(id string) bool { return strings.HasPrefix(key, backup.Prefix(id)) })
	})
	if got := keysIn(t, store); !slices.Equal(got, want) {
		t.Errorf("left: %v\nwant: %v", got, want)
	}
	if again, err := r.PlanPrune(t.Context(), keepTwo); err != nil || !again.Empty() {
		t.Errorf("a second plan: %+v, %v", again, err)
	}
	// The same plan once more, as after an answer that was lost.
	if err := r.Prune(t.Context(), plan, quiet{}); err != nil {
		t.Errorf("repeated: %v", err)
	}
}

// Wherever a prune is interrupted, every backup that is listed is whole, and a later prune finishes the work.
func TestPruneInterruptedAnywhere(t *testing.T) {
	for n := int64(1); ; n++ {
		store := objectstoretest.S3(t)
		r := repository(t, store)
		ids := fabricate(t, r, 4)
		plan, err := r.PlanPrune(t.Context(), keepTwo)
		if err != nil {
			t.Fatal(err)
		}
		cut := *r
		cut.Store = objectstoretest.ErrorBefore(store, objectstoretest.From(n, objectstoretest.On(objectstoretest.Delete, "base/")))
		interrupted := cut.Prune(t.Context(), plan, quiet{})
		if interrupted != nil && !errors.Is(interrupted, objectstoretest.ErrInjected) {
			t.Fatal(interrupted)
		}

		listed, err := r.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range listed {
			for _, o := range b.Objects() {
				if _, err := store.Stat(t.Context(), backup.Prefix(b.ID)+o.Name); err != nil {
					t.Errorf("cut before deletion %d: %s is listed, and %s: %v", n, b.ID, o.Name, err)
				}
			}
		}
		rest := keepTwo
		rest.Grace = time.Nanosecond
		finish, err := r.PlanPrune(t.Context(), rest)
		if err != nil {
			t.Fatal(err)
		}
		waitForAge(t, r, &finish, rest)
		if err := r.Prune(t.Context(), finish, quiet{}); err != nil {
			t.Fatal(err)
		}
		for _, key := range keysIn(t, store) {
			if id, _, _ := strings.Cut(strings.TrimPrefix(key, "base/"), "/"); !slices.Contains(ids[2:], id) {
				t.Errorf("cut before deletion %d: %s is left", n, key)
			}
		}
		if interrupted == nil {
			if n < 4 {
				t.Errorf("a prune of two backups made only %d deletions", n-1)
			}
			return
		}
	}
}

// waitForAge plans again until what was left behind is older than a nanosecond: the store counts in whole seconds.
func waitForAge(t *testing.T, r *backup.Repository, plan *backup.PrunePlan, o backup.PruneOptions) {
	t.Helper()
	for slices.ContainsFunc(plan.Leftovers, func(l backup.Leftover) bool { return !l.Remove }) {
		time.Sleep(50 * time.Millisecond)
		var err error
		if *plan, err = r.PlanPrune(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLeftoversAreSweptByTheStoresClock(t *testing.T) {
	store := objectstoretest.S3(t)
	r := repository(t, store)
	r.Now = func() time.Time { return time.Now().AddDate(5, 0, 0) } // this clock is of no use
	put(t, store, "base/s-20261010-101010/base.tar.zst.age.000001", "base/s-20261010-101010/base.tar.zst.age.000002")

	plan, err := r.PlanPrune(t.Context(), keepTwo)
	if err != nil || !plan.Empty() || len(plan.Leftovers) != 1 || plan.Leftovers[0].Objects != 2 {
		t.Fatalf("within the grace period: %+v, %v", plan, err)
	}
	later := &aheadStore{store, 25 * time.Hour}
	r.Store = later
	if plan, err = r.PlanPrune(t.Context(), keepTwo); err != nil || len(plan.Leftovers) != 1 || !plan.Leftovers[0].Remove {
		t.Fatalf("a day later: %+v, %v", plan, err)
	}

	// It was committed after all, between plan and prune.
	c := backup.Commit{ID: "s-20261011-101010", Kind: backup.Scheduled, Started: noon, Finished: noon}
	put(t, store, "base/s-20261011-101010/stray")
	late, err := r.PlanPrune(t.Context(), keepTwo)
	if err != nil || late.Removals() != 2 {
		t.Fatalf("%+v, %v", late, err)
	}
	if _, err := backup.Fabricate(t.Context(), r, c); err != nil {
		t.Fatal(err)
	}
	if err := r.Prune(t.Context(), late, quiet{}); err != nil {
		t.Fatal(err)
	}
	for _, key := range keysIn(t, store) {
		if strings.HasPrefix(key, "base/s-20261010-101010/") {
			t.Errorf("%s is left", key)
		}
	}
	if b, err := r.Show(t.Context(), c.ID); err != nil || len(b.Objects()) != 3 {
		t.Errorf("the backup that was committed late: %+v, %v", b, err)
	}
	if _, err := store.Stat(t.Context(), "base/s-20261011-101010/base.tar.zst.age.000001"); err != nil {
		t.Error(err)
	}
}

// aheadStore says a later time.
type aheadStore struct {
	objectstore.Store
	by time.Duration
}

func (s *aheadStore) Stat(ctx context.Context, key string) (objectstore.Attributes, error) {
	a, err := s.Store.Stat(ctx, key)
	a.ServerTime = a.ServerTime.Add(s.by)
	return a, err
}

func TestPruneNeverRemovesTheLastUsableBackup(t *testing.T) {
	store := objectstoretest.S3(t)
	r := repository(t, store)
	ids := fabricate(t, r, 4)
	keepOne := backup.PruneOptions{Policy: backup.Policy{KeepLast: 1}}

	// The newest misses an object: it does not count, nor does it go.
	if err := store.Delete(t.Context(), backup.Prefix(ids[3])+"base.tar.zst.age.000002"); err != nil {
		t.Fatal(err)
	}
	plan, err := r.PlanPrune(t.Context(), keepOne)
	if err != nil {
		t.Fatal(err)
	}
	if got := removed(plan); !slices.Equal(got, ids[:2]) {
		t.Errorf("plan removes %v, want %v", got, ids[:2])
	}
	if why := plan.Backups[3].Why; len(why) != 1 || !strings.Contains(why[0], "base.tar.zst.age.000002") {
		t.Errorf("why the incomplete one stays: %v", why)
	}

	// Between plan and prune the one that was to stay is lost.
	if err := store.Delete(t.Context(), backup.Prefix(ids[2])+"backup_manifest.age"); err != nil {
		t.Fatal(err)
	}
	before := keysIn(t, store)
	if err := r.Prune(t.Context(), plan, quiet{}); fault.CodeOf(err) != fault.Refused || fault.HintOf(err) == "" {
		t.Errorf("prune: %v", err)
	}
	if after := keysIn(t, store); !slices.Equal(before, after) {
		t.Errorf("the refused prune removed something: %v", after)
	}

	if _, err := r.PlanPrune(t.Context(), backup.PruneOptions{}); fault.CodeOf(err) != fault.Usage {
		t.Errorf("plan without a policy: %v", err)
	}
}

func TestPruneKeepsWhatIsNeeded(t *testing.T) {
	r := repository(t, objectstoretest.S3(t))
	ids := fabricate(t, r, 5) // of runs 1 to 5
	plan, err := r.PlanPrune(t.Context(), backup.PruneOptions{
		Policy: backup.Policy{KeepLast: 1}, UnfinishedRuns: []int64{2, 0, 99}, InUse: map[string]string{ids[3]: "restore 7 reads it"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := removed(plan), []string{ids[0], ids[2]}; !slices.Equal(got, want) {
		t.Errorf("plan removes %v, want %v", got, want)
	}
	if why := fmt.Sprint(plan.Backups[1].Why, plan.Backups[3].Why); why != "[run 2 is not finished] [restore 7 reads it]" {
		t.Errorf("why: %s", why)
	}
}

// fabricate stores backups of days that follow each other, and returns their ids, oldest first.
func fabricate(t *testing.T, r *backup.Repository, n int) (ids []string) {
	t.Helper()
	for i := range n {
		started := noon.AddDate(0, 0, i-n)
		c := backup.Commit{
			ID: "s-" + started.Format("20060102-150405"), Kind: backup.Scheduled, Run: int64(i + 1),
			Started: started, Finished: started.Add(time.Minute),
		}
		if _, err := backup.Fabricate(t.Context(), r, c); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, c.ID)
	}
	return ids
}

func removed(p backup.PrunePlan) (ids []string) {
	for _, v := range p.Backups {
		if v.Remove {
			ids = append(ids, v.ID)
		}
	}
	return ids
}

func backupBytes(t *testing.T, r *backup.Repository, id string) int64 {
	t.Helper()
	b, err := r.Show(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return b.StoredBytes
}

func put(t *testing.T, store objectstore.Store, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if _, err := store.Put(t.Context(), key, strings.NewReader("content of "+key), objectstore.Always()); err != nil {
			t.Fatal(err)
		}
	}
}

func keysIn(t *testing.T, store objectstore.Store) (keys []string) {
	t.Helper()
	for object, err := range store.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, object.Key)
	}
	return keys
}
