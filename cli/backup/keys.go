package backup

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"filippo.io/age"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore"
)

// Keys are an environment's key epochs in its bucket, as one operator sees them:
//
//	keys/<epoch>/identity.age   the epoch's age identity, encrypted to the operators
//	keys/<epoch>/epoch.json     its recipient and the writers that are trusted, signed by an operator; written last, it makes the epoch exist
//
// Backups are encrypted to an epoch's recipient, not to operators: operators come and go by wrapping the identity anew, and no backup is
// touched. A writer needs the recipient only.
//
// The bucket is not trusted. An epoch counts when an operator that the configuration names has signed it for this environment and this number,
// and when the identity is the one that the signed recipient belongs to. So whoever can write to the bucket can neither add a writer
// nor slip in a key of their own. What an operator signed earlier can be put back, which only takes writers away.
//
// Each epoch is read once: a Keys is for one command, not for a process that lives long.
type Keys struct {
	Store       objectstore.Store
	Environment string
	Operator    *Operator        // opens epochs and signs
	Operators   []OperatorKey    // the others: they are trusted, and epochs are wrapped to them too
	Now         func() time.Time // the clock

	lock   sync.Mutex
	opened map[int]epochKey
}

var _ Opener = (*Keys)(nil)

// Epoch says which key backups are encrypted to, and who may write them.
type Epoch struct {
	Environment string              `json:"environment"`
	Epoch       int                 `json:"epoch"` // from 1
	Created     time.Time           `json:"created"`
	Recipient   string              `json:"recipient"` // age's, of the epoch's identity
	Writers     []ed25519.PublicKey `json:"writers"`   // base64
	Operators   []string            `json:"operators"` // age recipients that the identity was wrapped to
}

// epochKey is an epoch whose signature holds and whose identity is at hand.
type epochKey struct {
	Epoch
	etag     string
	identity *age.X25519Identity
}

func epochName(epoch int) string    { return fmt.Sprintf("keys/%d/epoch.json", epoch) }
func identityName(epoch int) string { return fmt.Sprintf("keys/%d/identity.age", epoch) }

// Open implements Opener.
func (k *Keys) Open(ctx context.Context, epoch int) (age.Identity, []ed25519.PublicKey, error) {
	k.lock.Lock()
	defer k.lock.Unlock()
	e, known := k.opened[epoch]
	if !known {
		var err error
		if e, err = k.open(ctx, epoch, k.Operator); err != nil {
			return nil, nil, err
		}
		k.remember(e)
	}
	return e.identity, e.Writers, nil
}

func (k *Keys) remember(e epochKey) {
	if k.opened == nil {
		k.opened = map[int]epochKey{}
	}
	k.opened[e.Epoch.Epoch] = e
}

// EnsureEpoch returns the newest epoch after it has made sure that there is one, that this operator can open it, and that it trusts the
// writer. Several may run at once.
func (k *Keys) EnsureEpoch(ctx context.Context, writer ed25519.PublicKey) (Epoch, error) {
	k.lock.Lock()
	defer k.lock.Unlock()
	for {
		e, err := k.ensure(ctx, writer)
		if errors.Is(err, objectstore.ErrPrecondition) && ctx.Err() == nil {
			continue // somebody else was faster: look at what they made
		}
		if err != nil {
			return Epoch{}, fmt.Errorf("backup key of %s: %w", k.Environment, err)
		}
		k.remember(e)
		return e.Epoch, nil
	}
}

func (k *Keys) ensure(ctx context.Context, writer ed25519.PublicKey) (epochKey, error) {
	epochs, used, err := k.numbers(ctx)
	if err != nil {
		return epochKey{}, err
	}
	if len(epochs) == 0 {
		return k.create(ctx, used+1, writer)
	}
	e, err := k.open(ctx, epochs[len(epochs)-1], k.Operator)
	if err != nil || contains(e.Writers, writer) {
		return e, err
	}
	e.Writers = append(e.Writers, writer)
	return k.sign(ctx, e, objectstore.IfMatch(e.etag))
}

// Rotate begins a new epoch for the backups to come, after a key was lost to somebody. Backups of earlier epochs stay readable.
func (k *Keys) Rotate(ctx context.Context, writer ed25519.PublicKey) (Epoch, error) {
	k.lock.Lock()
	defer k.lock.Unlock()
	_, used, err := k.numbers(ctx)
	if err != nil {
		return Epoch{}, err
	}
	e, err := k.create(ctx, used+1, writer)
	if err != nil {
		return Epoch{}, fmt.Errorf("backup key of %s: %w", k.Environment, err)
	}
	k.remember(e)
	return e.Epoch, nil
}

// Epochs returns the numbers of the epochs that exist, oldest first. They are not opened.
func (k *Keys) Epochs(ctx context.Context) ([]int, error) {
	epochs, _, err := k.numbers(ctx)
	return epochs, err
}

// numbers returns the numbers of the epochs that exist, oldest first, and the highest number that anything is stored under.
func (k *Keys) numbers(ctx context.Context) (epochs []int, used int, err error) {
	for object, err := range k.Store.List(ctx, "keys/") {
		if err != nil {
			return nil, 0, fmt.Errorf("list keys/: %w", err)
		}
		number, name, _ := strings.Cut(strings.TrimPrefix(object.Key, "keys/"), "/")
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 {
			continue
		}
		used = max(used, n)
		if name == "epoch.json" {
			epochs = append(epochs, n)
		}
	}
	slices.Sort(epochs)
	return epochs, used, nil
}

// create makes an epoch. When it is interrupted, an identity is left that no epoch speaks of; its number is not used again, for
// nothing tells it from one that a stranger left.
func (k *Keys) create(ctx context.Context, number int, writer ed25519.PublicKey) (epochKey, error) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return epochKey{}, err
	}
	wrapped, err := k.wrap(identity)
	if err != nil {
		return epochKey{}, err
	}
	if _, err := putOnce(ctx, k.Store, identityName(number), wrapped); err != nil {
		return epochKey{}, err
	}
	e := Epoch{
		Environment: k.Environment, Epoch: number, Created: k.Now().UTC().Truncate(time.Second),
		Recipient: identity.Recipient().String(), Writers: []ed25519.PublicKey{writer}, Operators: k.recipients(),
	}
	return k.sign(ctx, epochKey{Epoch: e, identity: identity}, objectstore.IfAbsent())
}

// Rewrap encrypts an epoch's identity to this operator and Operators, and to nobody else, and signs the epoch anew. `old` opens it when this
// operator cannot yet, because the identity is new; nil when there is none. It may be repeated when it was interrupted.
func (k *Keys) Rewrap(ctx context.Context, epoch int, old *Operator) error {
	k.lock.Lock()
	defer k.lock.Unlock()
	e, err := k.open(ctx, epoch, k.Operator)
	if err != nil && old != nil {
		e, err = k.open(ctx, epoch, old)
	}
	if err != nil {
		return fmt.Errorf("wrap backup key of %s: %w", k.Environment, err)
	}
	wrapped, err := k.wrap(e.identity)
	if err != nil {
		return fmt.Errorf("wrap backup key of %s: %w", k.Environment, err)
	}
	// First the signature, while the old identity still opens: an interruption between the two leaves what can be done again.
	e.Operators = k.recipients()
	if e, err = k.sign(ctx, e, objectstore.IfMatch(e.etag)); err != nil {
		return fmt.Errorf("wrap backup key of %s: %w", k.Environment, err)
	}
	if _, err := k.Store.Put(ctx, identityName(epoch), bytes.NewReader(wrapped), objectstore.Always()); err != nil {
		return fmt.Errorf("wrap backup key of %s: store %s: %w", k.Environment, identityName(epoch), err)
	}
	k.remember(e)
	return nil
}

// team are the public keys of this operator and the others.
func (k *Keys) team() []OperatorKey {
	team := []OperatorKey{k.Operator.Public()}
	for _, o := range k.Operators {
		if o.String() != team[0].String() {
			team = append(team, o)
		}
	}
	return team
}

func (k *Keys) recipients() []string {
	var all []string
	for _, o := range k.team() {
		all = append(all, o.Recipient.String())
	}
	return all
}

// wrap encrypts an epoch's identity to every operator. What is inside is an identity file as age-keygen writes it.
func (k *Keys) wrap(identity *age.X25519Identity) ([]byte, error) {
	var to []age.Recipient
	for _, o := range k.team() {
		to = append(to, o.Recipient)
	}
	var wrapped bytes.Buffer
	w, err := age.Encrypt(&wrapped, to...)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(w, "# backups of %s\n# public key: %s\n%s\n", k.Environment, identity.Recipient(), identity); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return wrapped.Bytes(), nil
}

// signedEpoch is epoch.json. The signature covers the exact bytes of Epoch as they stand in the object.
type signedEpoch struct {
	Epoch     json.RawMessage   `json:"epoch"`
	Operator  ed25519.PublicKey `json:"operator"`
	Signature []byte            `json:"signature"`
}

// epochDomain keeps a signature over an epoch from being taken for one over anything else.
const epochDomain = "assistctl key epoch\n"

func (k *Keys) sign(ctx context.Context, e epochKey, cond objectstore.Condition) (epochKey, error) {
	body, err := json.Marshal(e.Epoch)
	if err != nil {
		return epochKey{}, err
	}
	signer := k.Operator.signer()
	object, err := json.Marshal(signedEpoch{body, k.Operator.Public().Signer, ed25519.Sign(signer, append([]byte(epochDomain), body...))})
	if err != nil {
		return epochKey{}, err
	}
	key := epochName(e.Epoch.Epoch)
	stored, err := k.Store.Put(ctx, key, bytes.NewReader(object), cond)
	if err != nil {
		return epochKey{}, fmt.Errorf("store %s: %w", key, err)
	}
	e.etag = stored.ETag
	return e, nil
}

// open reads an epoch, decrypts its identity, and checks who signed it. A reader with the wrong identity is told so before anything else.
func (k *Keys) open(ctx context.Context, epoch int, with *Operator) (epochKey, error) {
	object, etag, err := k.read(ctx, epochName(epoch))
	if err != nil {
		return epochKey{}, err
	}
	wrapped, _, err := k.read(ctx, identityName(epoch))
	if err != nil {
		return epochKey{}, err
	}
	identity, err := k.unwrap(epoch, wrapped, with)
	if err != nil {
		return epochKey{}, err
	}
	e, err := k.check(epoch, object, with)
	if err != nil {
		return epochKey{}, err
	}
	if identity.Recipient().String() != e.Recipient {
		return epochKey{}, damaged(identityName(epoch),
			fmt.Errorf("its identity is not that of recipient %s, which %s names", e.Recipient, epochName(epoch)))
	}
	return epochKey{e, etag, identity}, nil
}

// check parses epoch.json and says whether it is trusted: signed by `with` or by an operator that the configuration names.
func (k *Keys) check(epoch int, object []byte, with *Operator) (Epoch, error) {
	fail := func(err error, hint string) (Epoch, error) {
		return Epoch{}, fault.Hint(fault.Code(fmt.Errorf("%s is not to be trusted: %w", epochName(epoch), err), fault.Damaged), hint)
	}
	const look = "find out who wrote to the bucket; a copy of the object from before can be put back"
	var s signedEpoch
	if err := json.Unmarshal(object, &s); err != nil {
		return fail(err, look)
	}
	trusted := []ed25519.PublicKey{with.Public().Signer}
	for _, o := range k.team() {
		trusted = append(trusted, o.Signer)
	}
	if !contains(trusted, s.Operator) {
		return fail(fmt.Errorf("it is signed by an operator that is not known here (%x)", []byte(s.Operator)),
			"use the identity of an operator of "+k.Environment+", or name the one who signed among its operators")
	}
	if !ed25519.Verify(s.Operator, append([]byte(epochDomain), s.Epoch...), s.Signature) {
		return fail(errors.New("its signature does not fit its content"), look)
	}
	var e Epoch
	if err := json.Unmarshal(s.Epoch, &e); err != nil {
		return fail(err, look)
	}
	if e.Environment != k.Environment || e.Epoch != epoch {
		return fail(fmt.Errorf("it is epoch %d of environment %q", e.Epoch, e.Environment), look)
	}
	return e, nil
}

func (k *Keys) unwrap(epoch int, wrapped []byte, with *Operator) (*age.X25519Identity, error) {
	name := identityName(epoch)
	content, err := decrypt(wrapped, with.identity)
	if _, wrongKey := errors.AsType[*age.NoIdentityMatchError](err); wrongKey {
		return nil, fault.Hint(
			fault.Code(fmt.Errorf("%s was not encrypted to your identity (%s)", name, with.identity.Recipient()), fault.Damaged),
			"use the identity that has opened backups of "+k.Environment+" before, or have one of its operators add yours")
	}
	if err != nil {
		return nil, damaged(name, err)
	}
	identities, err := age.ParseIdentities(bytes.NewReader(content))
	if err != nil {
		return nil, damaged(name, err)
	}
	identity, ok := identities[0].(*age.X25519Identity)
	if !ok {
		return nil, damaged(name, fmt.Errorf("it holds a %T", identities[0]))
	}
	return identity, nil
}

func contains(keys []ed25519.PublicKey, key ed25519.PublicKey) bool {
	return slices.ContainsFunc(keys, func(k ed25519.PublicKey) bool { return k.Equal(key) })
}

const maxKeyObject = 1 << 20

// read fetches one of the small objects below keys/.
func (k *Keys) read(ctx context.Context, key string) ([]byte, string, error) {
	body, attributes, err := k.Store.Get(ctx, key)
	if errors.Is(err, objectstore.ErrNotExist) {
		return nil, "", fault.Hint(fault.Code(fmt.Errorf("fetch %s: %w", key, err), fault.Damaged),
			"without it the backups of this epoch cannot be opened; put back a copy of the object")
	}
	if err != nil {
		return nil, "", fmt.Errorf("fetch %s: %w", key, err)
	}
	defer body.Close()
	content, err := io.ReadAll(io.LimitReader(body, maxKeyObject))
	if err != nil {
		return nil, "", fmt.Errorf("fetch %s: %w", key, err)
	}
	return content, attributes.ETag, nil
}
