package backup

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/smart-assistant/platform/cli/backup/replication"
	"github.com/smart-assistant/platform/cli/fault"
)

// Kind says why a backup was taken; retention keeps the kinds for different times.
type Kind string

const (
	Scheduled Kind = "scheduled"
	Manual    Kind = "manual"
	PreDeploy Kind = "pre-deploy"
)

// format is the version of everything below base/: names of objects, order of layers, fields of the commit. A reader refuses a
// newer one rather than guess.
const format = 1

// Commit is what makes a backup exist: it is written last, names every object of the backup, and is signed.
type Commit struct {
	Format      int       `json:"format"`
	ID          string    `json:"id"`
	Environment string    `json:"environment"`
	Kind        Kind      `json:"kind"`
	Label       string    `json:"label,omitempty"`      // why, in the taker's words
	Key         string    `json:"key,omitempty"`        // idempotency key: one backup for each
	Run         int64     `json:"run,omitempty"`        // number of the run in the ledger that took it
	KeepUntil   time.Time `json:"keepUntil,omitzero"`   // not pruned before; zero leaves it to the policy for its kind
	Release     string    `json:"release,omitempty"`    // what ran when it was taken, if the taker knew
	SchemaHead  int64     `json:"schemaHead,omitempty"` // newest migration applied, if the taker knew
	Started     time.Time `json:"started"`
	Consistent  time.Time `json:"consistent"` // about when it was as a restore brings it back; what was committed later is not in it
	Finished    time.Time `json:"finished"`

	PostgreSQL       string          `json:"postgresql"` // the server's version, such as 15.14
	SystemIdentifier uint64          `json:"systemIdentifier,string"`
	Timeline         uint32          `json:"timeline"`
	StartLSN         replication.LSN `json:"startLSN"`
	StopLSN          replication.LSN `json:"stopLSN"`

	Epoch       int       `json:"epoch"`       // of the key that opens it
	RawBytes    int64     `json:"rawBytes"`    // of the tar archives, about what a restore writes
	StoredBytes int64     `json:"storedBytes"` // of all objects but the commit itself
	Archives    []Archive `json:"archives"`    // tablespaces first, the data directory last
	Manifest    Object    `json:"manifest"`    // PostgreSQL's backup_manifest, encrypted
}

// Archive is one tar: the data directory or a tablespace. Its objects, in order, concatenated, are one age file that holds one
// zstd stream that holds the tar.
type Archive struct {
	Tablespace uint32   `json:"tablespace,omitempty"` // the tablespace's OID, 0 for the data directory
	Location   string   `json:"location,omitempty"`   // where the tablespace was on the server
	Objects    []Object `json:"objects"`
}

// Object names one object of the backup.
type Object struct {
	Name   string `json:"name"` // below base/<id>/
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// Prefix is where the objects of a backup are.
func Prefix(id string) string { return "base/" + id + "/" }

const commitName = "commit.json"

// CommitKey is the key of a backup's commit.
func CommitKey(id string) string { return Prefix(id) + commitName }

// Objects yields every object that the commit names, in the order in which they were written.
func (c Commit) Objects() []Object {
	var all []Object
	for _, a := range c.Archives {
		all = append(all, a.Objects...)
	}
	return append(all, c.Manifest)
}

// envelope is commit.json. The signature covers the exact bytes of Commit as they stand in the object.
type envelope struct {
	Commit    json.RawMessage `json:"commit"`
	Signature []byte          `json:"signature"`
}

// domain keeps a signature over a commit from being taken for one over anything else.
const domain = "assistctl backup commit\n"

// sealed returns the bytes of commit.json.
func (c Commit) sealed(signer ed25519.PrivateKey) ([]byte, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return json.Marshal(envelope{body, ed25519.Sign(signer, append([]byte(domain), body...))})
}

// unsealed is a commit as read: its fields may be shown, and are trusted only after verify.
type unsealed struct {
	Commit
	body, signature []byte
}

// unseal parses commit.json and checks that it makes sense under the id that it was found by. It does not check the signature.
func unseal(id string, object []byte) (unsealed, error) {
	var e envelope
	if err := json.Unmarshal(object, &e); err != nil {
		return unsealed{}, err
	}
	u := unsealed{body: e.Commit, signature: e.Signature}
	var version struct{ Format int }
	if err := json.Unmarshal(e.Commit, &version); err != nil {
		return unsealed{}, err
	}
	if version.Format > format {
		return unsealed{}, fault.Hint(fmt.Errorf("format %d is newer than this assistctl reads (%d)", version.Format, format),
			"use the assistctl that wrote it, or a newer one")
	}
	if err := json.Unmarshal(e.Commit, &u.Commit); err != nil {
		return unsealed{}, err
	}
	if u.ID != id {
		return unsealed{}, fmt.Errorf("it is the commit of backup %q", u.ID)
	}
	return u, u.sound()
}

// verify checks the signature against the writers that are trusted.
func (u unsealed) verify(writers []ed25519.PublicKey) error {
	message := append([]byte(domain), u.body...)
	trusted := func(w ed25519.PublicKey) bool {
		return len(w) == ed25519.PublicKeySize && ed25519.Verify(w, message, u.signature)
	}
	if !slices.ContainsFunc(writers, trusted) {
		return errors.New("no trusted writer signed it")
	}
	return nil
}

var (
	idForm   = regexp.MustCompile(`^[a-z]-[0-9]{8}-[0-9]{6}(-[0-9]{1,6})?$`)
	partForm = regexp.MustCompile(`^(base|[0-9]{1,10})\.tar\.zst\.age\.[0-9]{6}$`)
)

const manifestObject = "backup_manifest.age"

// sound checks what a reader relies on, whoever wrote it: names that stay below the backup's prefix and sizes that add up.
func (c Commit) sound() error {
	if c.Format != format {
		return fmt.Errorf("format is %d", c.Format)
	}
	if !idForm.MatchString(c.ID) {
		return fmt.Errorf("id %q is malformed", c.ID)
	}
	if len(c.Archives) == 0 || c.Archives[len(c.Archives)-1].Tablespace != 0 {
		return errors.New("it names no data directory")
	}
	if c.Manifest.Name != manifestObject {
		return fmt.Errorf("manifest is named %q", c.Manifest.Name)
	}
	seen, stored := map[string]bool{}, c.Manifest.Size
	for i, a := range c.Archives {
		if len(a.Objects) == 0 {
			return fmt.Errorf("archive %s has no objects", a.name())
		}
		if (a.Tablespace == 0) != (i == len(c.Archives)-1) {
			return errors.New("the data directory is not its last archive")
		}
		for _, o := range a.Objects {
			if !partForm.MatchString(o.Name) || !strings.HasPrefix(o.Name, a.name()+".") || seen[o.Name] {
				return fmt.Errorf("object name %q is malformed", o.Name)
			}
			seen[o.Name] = true
			if stored += o.Size; o.Size <= 0 || o.Size > maxPart || stored < 0 {
				return fmt.Errorf("object %s cannot have %d bytes", o.Name, o.Size)
			}
		}
	}
	if c.Manifest.Size <= 0 || c.RawBytes < 0 || stored != c.StoredBytes {
		return fmt.Errorf("stored bytes are %d, its objects have %d", c.StoredBytes, stored)
	}
	return nil
}

// name is what the archive's objects are called, and what they unpack to.
func (a Archive) name() string {
	if a.Tablespace == 0 {
		return "base"
	}
	return fmt.Sprint(a.Tablespace)
}
