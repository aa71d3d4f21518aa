package backup

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/smart-assistant/platform/cli/fault"
)

// Operator is a person who may open backups: an age identity, from which the key that signs epochs is derived, so that there is one
// file to keep a copy of.
type Operator struct {
	identity *age.X25519Identity
}

// OperatorKey is the public half of an Operator: what others encrypt to, and what they check signatures with.
type OperatorKey struct {
	Recipient *age.X25519Recipient
	Signer    ed25519.PublicKey
}

// LoadOperator reads the identity file at path, in the format of age-keygen(1), or makes one when there is none. It tells when it made one,
// so that the user can be told to keep a copy: nothing else opens the backups. The file must be closed to other users.
func LoadOperator(path string, now time.Time) (o *Operator, created bool, err error) {
	o, err = readOperator(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return o, false, err
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, false, fmt.Errorf("make operator's identity: %w", err)
	}
	content := fmt.Sprintf("# created: %s\n# public key: %s\n%s\n", now.UTC().Format(time.RFC3339), identity.Recipient(), identity)
	err = createPrivate(path, []byte(content))
	if errors.Is(err, fs.ErrExist) { // another process made it meanwhile
		o, err = readOperator(path)
		return o, false, err
	}
	if err != nil {
		return nil, false, fmt.Errorf("make operator's identity: %w", err)
	}
	return &Operator{identity}, true, nil
}

// ReadOperator reads the identity file at path.
func ReadOperator(path string) (*Operator, error) {
	o, err := readOperator(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = fault.Code(fmt.Errorf("operator's identity: %w", err), fault.NotFound)
	}
	return o, err
}

func readOperator(path string) (*Operator, error) {
	content, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	identities, err := age.ParseIdentities(bytes.NewReader(content))
	if err != nil {
		return nil, unusable(path, err)
	}
	if len(identities) != 1 {
		return nil, unusable(path, fmt.Errorf("it holds %d identities, not one", len(identities)))
	}
	identity, ok := identities[0].(*age.X25519Identity)
	if !ok {
		return nil, unusable(path, fmt.Errorf("its identity is a %T, not one of age's X25519 ones", identities[0]))
	}
	return &Operator{identity}, nil
}

func unusable(path string, err error) error {
	return fault.Hint(fault.Code(fmt.Errorf("operator's identity %s: %w", path, err), fault.Damaged),
		"put back the copy of "+path+" that you kept")
}

// Public returns what the operator shows to others.
func (o *Operator) Public() OperatorKey {
	return OperatorKey{o.identity.Recipient(), publicHalf(o.signer())}
}

// signer derives the signing key: HKDF-SHA256 (RFC 5869) of the identity, with a purpose of its own, as the seed of an Ed25519 key.
func (o *Operator) signer() ed25519.PrivateKey {
	seed, err := hkdf.Key(sha256.New, []byte(o.identity.String()), nil, "assistctl operator signing key", ed25519.SeedSize)
	if err != nil {
		panic(err) // only for lengths that HKDF cannot give
	}
	return ed25519.NewKeyFromSeed(seed)
}

// publicHalf is key.Public() with its type: the second half of Go's representation.
func publicHalf(key ed25519.PrivateKey) ed25519.PublicKey {
	return ed25519.PublicKey(bytes.Clone(key[ed25519.SeedSize:]))
}

// String is the form for configuration files: recipient and signing key, joined by a colon.
func (k OperatorKey) String() string {
	return k.Recipient.String() + ":" + base64.RawURLEncoding.EncodeToString(k.Signer)
}

// ParseOperatorKey reads what OperatorKey.String wrote.
func ParseOperatorKey(s string) (OperatorKey, error) {
	fail := func(err error) (OperatorKey, error) {
		return OperatorKey{}, fmt.Errorf("operator's public key %q: %w", s, err)
	}
	recipient, signer, found := strings.Cut(s, ":")
	if !found {
		return fail(errors.New("it needs two parts joined by a colon: an age recipient and a signing key"))
	}
	var k OperatorKey
	var err error
	if k.Recipient, err = age.ParseX25519Recipient(recipient); err != nil {
		return fail(err)
	}
	if k.Signer, err = base64.RawURLEncoding.DecodeString(signer); err != nil {
		return fail(err)
	}
	if len(k.Signer) != ed25519.PublicKeySize {
		return fail(fmt.Errorf("its signing key has %d bytes, not %d", len(k.Signer), ed25519.PublicKeySize))
	}
	return k, nil
}

// readPrivate reads a file that holds a secret, and refuses one that others can read.
func readPrivate(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fault.Hint(fault.Code(fmt.Errorf("%s holds a secret and other users can open it (mode %#o)", path, mode), fault.Refused),
			"chmod 600 "+path)
	}
	return os.ReadFile(path)
}

// createPrivate writes a file that only this user can read. It appears whole and durable, and fails with fs.ErrExist when it is there already.
func createPrivate(path string, content []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	unfinished, err := writeBeside(path, content)
	if err != nil {
		return err
	}
	defer os.Remove(unfinished)
	if err := os.Link(unfinished, path); err != nil { // unlike a rename, a link does not replace
		return err
	}
	return syncFolder(dir)
}

// replacePrivate is createPrivate for a file that may exist.
func replacePrivate(path string, content []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	unfinished, err := writeBeside(path, content)
	if err != nil {
		return err
	}
	if err := os.Rename(unfinished, path); err != nil {
		return errors.Join(err, os.Remove(unfinished))
	}
	return syncFolder(dir)
}

// writeBeside writes a durable file, mode 0600, next to path.
func writeBeside(path string, content []byte) (name string, err error) {
	name = fmt.Sprintf("%s.%s", path, rand.Text())
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(name))
	}
	return name, nil
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
