package backup_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/objectstore/objectstoretest"
	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
)

// Whatever is done to whichever object, Verify and Restore refuse the backup by the object's name, and the live data is not touched.
func TestDamageIsRefusedByName(t *testing.T) {
	server := postgrestest.Start(t)
	fill(t, server, 2000)
	store := objectstoretest.S3(t)
	r := repository(t, store)
	o := backup.TakeOptions{Kind: backup.Manual, PartSize: 512 << 10}
	taken, other := take(t, r, server, o), take(t, r, server, o)

	parts := taken.Archives[0].Objects
	if len(parts) < 4 {
		t.Fatalf("the backup has %d parts", len(parts))
	}
	last := parts[len(parts)-1].Name
	ways := map[string]func(content []byte) []byte{
		"flip first byte": func(c []byte) []byte { c[0] ^= 1; return c },
		"flip a bit":      func(c []byte) []byte { c[len(c)/2] ^= 8; return c },
		"flip last byte":  func(c []byte) []byte { c[len(c)-1] ^= 0x80; return c },
		"truncate":        func(c []byte) []byte { return c[:len(c)-1] },
		"empty":           func([]byte) []byte { return nil },
		"append":          func(c []byte) []byte { return append(c, 0) },
		"zeros":           func(c []byte) []byte { return make([]byte, len(c)) },
	}
	for _, name := range []string{parts[0].Name, parts[2].Name, last, taken.Manifest.Name, "commit.json"} {
		key := backup.Prefix(taken.ID) + name
		whole := content(t, store, key)
		for way, damage := range ways {
			t.Run(name+"/"+way, func(t *testing.T) {
				replace(t, store, key, damage(bytes.Clone(whole)))
				refusedWhole(t, r, taken.ID, key)
			})
		}
		t.Run(name+"/foreign", func(t *testing.T) {
			replace(t, store, key, content(t, store, backup.Prefix(other.ID)+name))
			refusedWhole(t, r, taken.ID, key)
		})
		t.Run(name+"/remove", func(t *testing.T) {
			if err := store.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			if name == "commit.json" { // then there is no such backup
				if _, err := r.Verify(t.Context(), taken.ID, quiet{}); fault.CodeOf(err) != fault.NotFound {
					t.Errorf("verify: %v", err)
				}
				return
			}
			refusedWhole(t, r, taken.ID, key)
		})
		replace(t, store, key, whole)
	}
	t.Run("swap", func(t *testing.T) {
		one, two := backup.Prefix(taken.ID)+parts[1].Name, backup.Prefix(taken.ID)+parts[2].Name
		a, b := content(t, store, one), content(t, store, two)
		replace(t, store, one, b)
		replace(t, store, two, a)
		refusedWhole(t, r, taken.ID, one)
		replace(t, store, one, a)
		replace(t, store, two, b)
	})
	t.Run("added", func(t *testing.T) {
		key := backup.Prefix(taken.ID) + "base.tar.zst.age.999999"
		replace(t, store, key, []byte("more"))
		refusedWhole(t, r, taken.ID, key)
		if err := store.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := r.Verify(t.Context(), taken.ID, quiet{}); err != nil {
		t.Errorf("after all was put back: %v", err)
	}
}

// refusedWhole checks that a backup is refused, by the name of an object.
func refusedWhole(t *testing.T, r *backup.Repository, id, key string) {
	t.Helper()
	named := func(what string, err error) {
		if fault.CodeOf(err) != fault.Damaged || !strings.Contains(err.Error(), key) || fault.HintOf(err) == "" {
			t.Errorf("%s: %v, want a refusal that names %s", what, err, key)
		}
	}
	_, err := r.Verify(t.Context(), id, quiet{})
	named("verify", err)
	p := &fakePlace{dir: t.TempDir(), t: t, store: r.Store}
	plan, err := r.PlanRestore(t.Context(), id, p, backup.RestoreOptions{})
	if err == nil {
		_, err = r.Restore(t.Context(), plan, p, &memory{}, nil, quiet{})
	}
	named("restore", err)
	if left, err := os.ReadDir(p.dir); len(left) > 0 || err != nil || slices.Contains(p.calls, "stop") {
		t.Errorf("a refused restore left %v, called %v", left, p.calls)
	}
}

func replace(t testing.TB, store objectstore.Store, key string, content []byte) {
	t.Helper()
	if _, err := store.Put(t.Context(), key, bytes.NewReader(content), objectstore.Always()); err != nil {
		t.Fatal(err)
	}
}

// A commit that somebody else signed, or that speaks of another environment or id, is damaged, and does not hide the good ones.
func TestForgedCommits(t *testing.T) {
	server := postgrestest.Start(t)
	store := objectstoretest.S3(t)
	r := repository(t, store)
	good, bad := take(t, r, server, backup.TakeOptions{Kind: backup.Manual}), take(t, r, server, backup.TakeOptions{Kind: backup.Scheduled})
	key := backup.CommitKey(bad.ID)
	whole := content(t, store, key)
	rewrite := func(change func(commit map[string]any)) []byte {
		var e, c map[string]any
		var raw struct{ Commit json.RawMessage }
		if json.Unmarshal(whole, &e) != nil || json.Unmarshal(whole, &raw) != nil || json.Unmarshal(raw.Commit, &c) != nil {
			t.Fatal("commit does not parse")
		}
		change(c)
		e["commit"] = c
		object, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return object
	}
	stranger := repository(t, objectstoretest.S3(t))
	foreign := take(t, stranger, server, backup.TakeOptions{Kind: backup.Scheduled, Key: "x"})
	strange := bytes.ReplaceAll(content(t, stranger.Store, backup.CommitKey(foreign.ID)), []byte(foreign.ID), []byte(bad.ID))
	elsewhere := *r
	elsewhere.Environment = "staging"

	for name, object := range map[string][]byte{
		"later label":     rewrite(func(c map[string]any) { c["label"] = "kept for ever" }),
		"newer format":    rewrite(func(c map[string]any) { c["format"] = 2 }),
		"escaping object": rewrite(func(c map[string]any) { c["manifest"].(map[string]any)["name"] = "../../x" }),
		"other signer":    strange,
		"other backup":    content(t, store, backup.CommitKey(good.ID)),
		"no JSON":         []byte("{"),
		"unsigned":        bytes.Replace(whole, []byte(`"signature"`), []byte(`"signed"`), 1),
	} {
		replace(t, store, key, object)
		if _, err := r.Show(t.Context(), bad.ID); fault.CodeOf(err) != fault.Damaged || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", name, err)
		}
		listed, err := r.List(t.Context())
		if err != nil || len(listed) != 2 {
			t.Fatalf("%s: listed %+v, %v", name, listed, err)
		}
		for _, b := range listed {
			if (b.Problem != nil) != (b.ID == bad.ID) {
				t.Errorf("%s: %s has problem %v", name, b.ID, b.Problem)
			}
		}
	}
	replace(t, store, key, whole)
	if _, err := elsewhere.Show(t.Context(), bad.ID); fault.CodeOf(err) != fault.Damaged {
		t.Errorf("in another environment: %v", err)
	}
}

// Another key neither restores nor verifies: an operator's that opens nothing, and one that pretends to.
func TestWrongKey(t *testing.T) {
	server := postgrestest.Start(t)
	r := repository(t, objectstoretest.S3(t))
	taken := take(t, r, server, backup.TakeOptions{Kind: backup.Manual})
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	right := r.Opener.(key)
	strange, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]key{
		"identity": {identity, right.writers},
		"writer":   {right.identity, []ed25519.PublicKey{strange}},
		"nobody":   {right.identity, nil},
	} {
		r.Opener = k
		p := &fakePlace{dir: t.TempDir(), t: t, store: r.Store}
		_, planned := r.PlanRestore(t.Context(), taken.ID, p, backup.RestoreOptions{})
		_, verified := r.Verify(t.Context(), taken.ID, quiet{})
		_, unpacked := r.Unpack(t.Context(), taken.ID, t.TempDir(), func(int64) {})
		for what, err := range map[string]error{"plan": planned, "verify": verified, "unpack": unpacked} {
			if fault.CodeOf(err) != fault.Damaged || fault.HintOf(err) == "" {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		if len(p.calls) > 0 {
			t.Errorf("%s: the place was asked for %v", name, p.calls)
		}
	}
}

func TestUnpackRefusesFullFolder(t *testing.T) {
	server := postgrestest.Start(t)
	r := repository(t, objectstoretest.S3(t))
	taken := take(t, r, server, backup.TakeOptions{Kind: backup.Manual})
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Unpack(t.Context(), taken.ID, dir, func(int64) {}); err == nil {
		t.Error("unpacked into a folder that holds something")
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}
