package backup_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/objectstore/objectstoretest"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func TestOperatorIsMadeOnceAndKeptPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config", "identity.txt")
	if _, err := backup.ReadOperator(path); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("ReadOperator without a file: %v", err)
	}
	first, created, err := backup.LoadOperator(path, noon)
	if err != nil || !created {
		t.Fatalf("first use: created %v, %v", created, err)
	}
	second, created, err := backup.LoadOperator(path, noon)
	if err != nil || created {
		t.Fatalf("second use: created %v, %v", created, err)
	}
	if first.Public().String() != second.Public().String() {
		t.Errorf("%s became %s", first.Public(), second.Public())
	}
	for file, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v %v, want %v", file, info.Mode(), err, want)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("beside the identity: %v %v", entries, err)
	}
	content, err := os.ReadFile(path)
	if err != nil || !bytes.HasPrefix(content, []byte("# created: 2026-11-20T12:00:00Z\n# public key: age1")) {
		t.Errorf("file is %.60q, %v", content, err)
	}
	if identities, err := age.ParseIdentities(bytes.NewReader(content)); err != nil || len(identities) != 1 {
		t.Errorf("age reads %d identities, %v", len(identities), err)
	}

	parsed, err := backup.ParseOperatorKey(first.Public().String())
	if err != nil || parsed.String() != first.Public().String() {
		t.Errorf("public key %s came back as %s, %v", first.Public(), parsed, err)
	}
	for _, bad := range []string{"", "age1x", first.Public().Recipient.String(), first.Public().Recipient.String() + ":abc"} {
		if _, err := backup.ParseOperatorKey(bad); err == nil {
			t.Errorf("%q was taken for a public key", bad)
		}
	}

	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := backup.LoadOperator(path, noon); fault.HintOf(err) != "chmod 600 "+path {
		t.Errorf("a file that others can read: %v, hint %q", err, fault.HintOf(err))
	}
	for _, content := range []string{"", "AGE-SECRET-KEY-1NONSENSE\n", string(content) + string(content)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := backup.LoadOperator(path, noon); fault.CodeOf(err) != fault.Damaged || !strings.Contains(fault.HintOf(err), "copy") {
			t.Errorf("file %.20q: %v, hint %q", content, err, fault.HintOf(err))
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != content {
			t.Errorf("the file was changed to %q, %v", now, err)
		}
	}
}

func TestOperatorsFirstUseByManyAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity.txt")
	var group sync.WaitGroup
	var lock sync.Mutex
	made, keys := 0, map[string]bool{}
	for range 8 {
		group.Go(func() {
			o, created, err := backup.LoadOperator(path, noon)
			if err != nil {
				t.Error(err)
				return
			}
			lock.Lock()
			defer lock.Unlock()
			if created {
				made++
			}
			keys[o.Public().String()] = true
		})
	}
	group.Wait()
	if made != 1 || len(keys) != 1 {
		t.Errorf("%d made it, %d different ones are in use", made, len(keys))
	}
}

func TestEpochLife(t *testing.T) {
	ctx := t.Context()
	store := objectstoretest.S3(t)
	anna := keysOf(t, store)
	first, second := writerKey(t), writerKey(t)

	epoch, err := anna.EnsureEpoch(ctx, first)
	if err != nil {
		t.Fatal(err)
	}
	if epoch.Epoch != 1 || epoch.Environment != "prod" || !epoch.Created.Equal(noon) || len(epoch.Writers) != 1 {
		t.Errorf("epoch is %+v", epoch)
	}
	before := content(t, store, "keys/1/epoch.json")
	if again, err := anna.EnsureEpoch(ctx, first); err != nil || again.Recipient != epoch.Recipient {
		t.Errorf("again: %+v, %v", again, err)
	}
	if !bytes.Equal(content(t, store, "keys/1/epoch.json"), before) {
		t.Error("the epoch was written though nothing changed")
	}
	if more, err := again(anna).EnsureEpoch(ctx, second); err != nil || len(more.Writers) != 2 || more.Recipient != epoch.Recipient {
		t.Errorf("another writer: %+v, %v", more, err)
	}

	identity, writers := open(t, again(anna), 1)
	if identity.Recipient().String() != epoch.Recipient || len(writers) != 2 || !writers[0].Equal(first) || !writers[1].Equal(second) {
		t.Errorf("opened %s with writers %x", identity.Recipient(), writers)
	}

	rotated, err := anna.Rotate(ctx, second)
	if err != nil || rotated.Epoch != 2 || rotated.Recipient == epoch.Recipient {
		t.Fatalf("rotated to %+v, %v", rotated, err)
	}
	if newest, err := again(anna).EnsureEpoch(ctx, first); err != nil || newest.Epoch != 2 {
		t.Errorf("after the rotation: %+v, %v", newest, err)
	}
	if old, _ := open(t, again(anna), 1); old.Recipient().String() != epoch.Recipient {
		t.Error("the earlier epoch opens to another identity")
	}
	if epochs, err := anna.Epochs(ctx); err != nil || len(epochs) != 2 || epochs[0] != 1 || epochs[1] != 2 {
		t.Errorf("epochs %v, %v", epochs, err)
	}
}

func TestEpochIsMadeOnceByManyAtOnce(t *testing.T) {
	store := objectstoretest.S3(t)
	anna := keysOf(t, store)
	var group sync.WaitGroup
	writers := make([]ed25519.PublicKey, 6)
	for i := range writers {
		writers[i] = writerKey(t)
		group.Go(func() {
			if _, err := again(anna).EnsureEpoch(t.Context(), writers[i]); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	// Each is trusted by the epoch that it was given; those who came too late for the first identity have the newest one.
	trusted := 0
	epochs, err := anna.Epochs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range epochs {
		_, known := open(t, again(anna), n)
		trusted += len(known)
	}
	if trusted != len(writers) {
		t.Errorf("%d writers are trusted in epochs %v, want %d", trusted, epochs, len(writers))
	}
}

func TestEpochSurvivesInterruptions(t *testing.T) {
	store := objectstoretest.S3(t)
	anna, writer := keysOf(t, store), writerKey(t)

	interrupted := again(anna)
	interrupted.Store = objectstoretest.ErrorBefore(store, objectstoretest.On(objectstoretest.Put, "keys/1/epoch.json"))
	if _, err := interrupted.EnsureEpoch(t.Context(), writer); !errors.Is(err, objectstoretest.ErrInjected) {
		t.Fatalf("interrupted: %v", err)
	}
	if epochs, err := anna.Epochs(t.Context()); err != nil || len(epochs) != 0 {
		t.Errorf("half an epoch counts: %v, %v", epochs, err)
	}

	unlucky := again(anna)
	unlucky.Store = objectstoretest.LostAnswer(store, objectstoretest.Nth(1, objectstoretest.On(objectstoretest.Put, "keys/2/identity.age")))
	epoch, err := unlucky.EnsureEpoch(t.Context(), writer)
	if err != nil || epoch.Epoch != 2 {
		t.Fatalf("the next one got %+v, %v", epoch, err)
	}
	if identity, _ := open(t, again(anna), 2); identity.Recipient().String() != epoch.Recipient {
		t.Errorf("opened %s, want %s", identity.Recipient(), epoch.Recipient)
	}
}

func TestRewrap(t *testing.T) {
	ctx := t.Context()
	store := objectstoretest.S3(t)
	anna, ben := keysOf(t, store), keysOf(t, store)
	epoch, err := anna.EnsureEpoch(ctx, writerKey(t))
	if err != nil {
		t.Fatal(err)
	}
	payload := seal(t, epoch, "rows")
	if _, err := store.Put(ctx, "base/x/part", bytes.NewReader(payload), objectstore.IfAbsent()); err != nil {
		t.Fatal(err)
	}

	refused(t, ben, "keys/1/identity.age was not encrypted to your identity")
	anna.Operators = []backup.OperatorKey{ben.Operator.Public()}
	if err := anna.Rewrap(ctx, 1, nil); err != nil {
		t.Fatal(err)
	}
	refused(t, again(ben), "keys/1/epoch.json is not to be trusted: it is signed by an operator that is not known here")
	ben.Operators = []backup.OperatorKey{anna.Operator.Public()}
	for _, k := range []*backup.Keys{again(anna), again(ben)} {
		identity, writers := open(t, k, 1)
		if unseal(t, identity, content(t, store, "base/x/part")) != "rows" || len(writers) != 1 {
			t.Error("the epoch that both can open is another")
		}
	}
	if !bytes.Equal(content(t, store, "base/x/part"), payload) {
		t.Error("the payload was touched")
	}

	// Anna leaves. What Ben signs does not need her.
	ben = again(ben)
	ben.Operators = nil
	ben.Store = objectstoretest.ErrorBefore(store, objectstoretest.Nth(1, objectstoretest.On(objectstoretest.Put, "keys/1/identity.age")))
	if err := ben.Rewrap(ctx, 1, nil); err == nil || !strings.Contains(err.Error(), "not known here") {
		t.Fatalf("Ben does not name Anna, who signed: %v", err)
	}
	ben.Operators = []backup.OperatorKey{anna.Operator.Public()}
	if err := ben.Rewrap(ctx, 1, nil); !errors.Is(err, objectstoretest.ErrInjected) {
		t.Fatalf("interrupted: %v", err)
	}
	ben.Operators = nil
	if err := ben.Rewrap(ctx, 1, nil); err != nil {
		t.Fatalf("repeated: %v", err)
	}
	open(t, again(ben), 1)
	refused(t, again(anna), "keys/1/identity.age was not encrypted to your identity")

	// Ben has a new identity, and needs the old one once.
	renewed := keysOf(t, store)
	if err := renewed.Rewrap(ctx, 1, ben.Operator); err != nil {
		t.Fatal(err)
	}
	if err := renewed.Rewrap(ctx, 1, ben.Operator); err != nil {
		t.Fatalf("repeated: %v", err)
	}
	identity, _ := open(t, again(renewed), 1)
	if unseal(t, identity, payload) != "rows" {
		t.Error("the epoch is another")
	}
	refused(t, again(ben), "keys/1/identity.age was not encrypted to your identity")
}

// Whoever can write to the bucket and has no operator's identity.
func TestTamperedKeysAreRefusedByName(t *testing.T) {
	store := objectstoretest.S3(t)
	anna, mallory := keysOf(t, store), keysOf(t, store)
	if _, err := anna.EnsureEpoch(t.Context(), writerKey(t)); err != nil {
		t.Fatal(err)
	}
	genuine := map[string][]byte{}
	for _, name := range []string{"keys/1/epoch.json", "keys/1/identity.age"} {
		genuine[name] = content(t, store, name)
	}
	mallory.Operators = []backup.OperatorKey{anna.Operator.Public()} // so that Anna can open what Mallory makes
	forged, err := mallory.Rotate(t.Context(), writerKey(t))
	if err != nil {
		t.Fatal(err)
	}
	staging := again(anna)
	staging.Environment = "staging"
	if _, err := staging.Rotate(t.Context(), writerKey(t)); err != nil { // epoch 3, Anna's own, of another environment
		t.Fatal(err)
	}

	var fields map[string]json.RawMessage
	if err := json.Unmarshal(genuine["keys/1/epoch.json"], &fields); err != nil {
		t.Fatal(err)
	}
	withWriter := map[string]json.RawMessage{}
	var epoch map[string]any
	if err := json.Unmarshal(fields["epoch"], &epoch); err != nil {
		t.Fatal(err)
	}
	epoch["writers"] = append(epoch["writers"].([]any), []byte(writerKey(t)))
	maps.Copy(withWriter, fields)
	if withWriter["epoch"], err = json.Marshal(epoch); err != nil {
		t.Fatal(err)
	}
	addedWriter, err := json.Marshal(withWriter)
	if err != nil {
		t.Fatal(err)
	}

	for name, test := range map[string]struct {
		epoch, identity []byte
		want            string
	}{
		"added writer":        {addedWriter, nil, "keys/1/epoch.json is not to be trusted: its signature does not fit"},
		"forged epoch":        {content(t, store, "keys/2/epoch.json"), content(t, store, "keys/2/identity.age"), "keys/1/epoch.json is not to be trusted: it is signed by an operator that is not known"},
		"forged identity":     {nil, content(t, store, "keys/2/identity.age"), "keys/1/identity.age is damaged: its identity is not that of recipient"},
		"other environment":   {content(t, store, "keys/3/epoch.json"), content(t, store, "keys/3/identity.age"), `keys/1/epoch.json is not to be trusted: it is epoch 3 of environment "staging"`},
		"flipped identity":    {nil, flipped(genuine["keys/1/identity.age"]), "keys/1/identity.age is damaged"},
		"truncated identity":  {nil, genuine["keys/1/identity.age"][:200], "keys/1/identity.age is damaged"},
		"not even JSON":       {[]byte("{"), nil, "keys/1/epoch.json is not to be trusted"},
		"missing identity":    {nil, []byte{}, "fetch keys/1/identity.age"},
		"nothing was changed": {nil, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			for object, change := range map[string][]byte{"keys/1/epoch.json": test.epoch, "keys/1/identity.age": test.identity} {
				if change == nil {
					change = genuine[object]
				}
				if _, err := store.Put(t.Context(), object, bytes.NewReader(change), objectstore.Always()); err != nil {
					t.Fatal(err)
				}
				if len(change) == 0 {
					if err := store.Delete(t.Context(), object); err != nil {
						t.Fatal(err)
					}
				}
			}
			if test.want == "" {
				open(t, again(anna), 1)
				return
			}
			refused(t, again(anna), test.want)
		})
	}

	// The newest epoch is Mallory's: nothing is sealed to it.
	if err := store.Delete(t.Context(), "keys/3/epoch.json", "keys/3/identity.age"); err != nil {
		t.Fatal(err)
	}
	if e, err := again(anna).EnsureEpoch(t.Context(), writerKey(t)); fault.CodeOf(err) != fault.Damaged || e.Recipient == forged.Recipient {
		t.Errorf("Mallory's epoch was taken: %+v, %v", e, err)
	}
}

func TestWriterFile(t *testing.T) {
	ctx := t.Context()
	store := objectstoretest.S3(t)
	anna := keysOf(t, store)
	path := filepath.Join(t.TempDir(), "secrets", "backup-writer.json")
	if _, err := backup.LoadWriter(t.Context(), backup.WriterFile(path), "prod"); !errors.Is(err, os.ErrNotExist) || fault.HintOf(err) == "" {
		t.Errorf("without a file: %v, hint %q", err, fault.HintOf(err))
	}
	made, err := backup.EnsureWriter(ctx, backup.WriterFile(path), anna, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := backup.LoadWriter(t.Context(), backup.WriterFile(path), "prod")
	if err != nil || loaded.Epoch != 1 || !loaded.Signer.Equal(made.Signer) {
		t.Fatalf("loaded %+v, %v", loaded, err)
	}
	identity, writers := open(t, again(anna), loaded.Epoch)
	if !writers[0].Equal(loaded.Signer.Public()) {
		t.Error("the epoch does not trust the writer")
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, loaded.Recipient)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "rows"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if unseal(t, identity, sealed.Bytes()) != "rows" {
		t.Error("what the writer seals does not open")
	}
	file, err := os.ReadFile(path)
	if err != nil || bytes.Contains(file, []byte("AGE-SECRET-KEY")) {
		t.Errorf("the writer's file can read backups: %s %v", file, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	if _, err := anna.Rotate(ctx, writerKey(t)); err != nil {
		t.Fatal(err)
	}
	next, err := backup.EnsureWriter(ctx, backup.WriterFile(path), again(anna), rand.Reader)
	if err != nil || next.Epoch != 2 || !next.Signer.Equal(made.Signer) {
		t.Errorf("after the rotation: %+v, %v", next, err)
	}
	if _, err := backup.LoadWriter(t.Context(), backup.WriterFile(path), "staging"); err == nil || !strings.Contains(err.Error(), `belongs to environment "prod"`) {
		t.Errorf("another environment's: %v", err)
	}
}

func keysOf(t *testing.T, store objectstore.Store) *backup.Keys {
	t.Helper()
	operator, _, err := backup.LoadOperator(filepath.Join(t.TempDir(), "identity.txt"), noon)
	if err != nil {
		t.Fatal(err)
	}
	return &backup.Keys{Store: store, Environment: "prod", Operator: operator, Now: func() time.Time { return noon }}
}

// again is the same operator's next command.
func again(k *backup.Keys) *backup.Keys {
	return &backup.Keys{Store: k.Store, Environment: k.Environment, Operator: k.Operator, Operators: k.Operators, Now: k.Now}
}

func writerKey(t *testing.T) ed25519.PublicKey {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return public
}

func open(t *testing.T, k *backup.Keys, epoch int) (*age.X25519Identity, []ed25519.PublicKey) {
	t.Helper()
	identity, writers, err := k.Open(t.Context(), epoch)
	if err != nil {
		t.Fatal(err)
	}
	return identity.(*age.X25519Identity), writers
}

func refused(t *testing.T, k *backup.Keys, want string) {
	t.Helper()
	_, _, err := k.Open(t.Context(), 1)
	if err == nil || !strings.HasPrefix(err.Error(), want) || fault.CodeOf(err) != fault.Damaged || fault.HintOf(err) == "" {
		t.Errorf("Open = %v (code %d, hint %q), want %s…", err, fault.CodeOf(err), fault.HintOf(err), want)
	}
}

func seal(t *testing.T, e backup.Epoch, plain string) []byte {
	t.Helper()
	recipient, err := age.ParseX25519Recipient(e.Recipient)
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, recipient)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return sealed.Bytes()
}

func unseal(t *testing.T, identity age.Identity, sealed []byte) string {
	t.Helper()
	r, err := age.Decrypt(bytes.NewReader(sealed), identity)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

func content(t *testing.T, store objectstore.Store, key string) []byte {
	t.Helper()
	body, _, err := store.Get(context.WithoutCancel(t.Context()), key)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	all, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func flipped(object []byte) []byte {
	changed := bytes.Clone(object)
	changed[len(changed)-20] ^= 1
	return changed
}
