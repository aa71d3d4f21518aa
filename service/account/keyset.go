package account

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/account/accountdb"
	"github.com/smart-assistant/platform/service/encryption"
)

const (
	jwksMaxAge     = 5 * time.Minute  // how long others may keep our published keys
	reloadInterval = 30 * time.Second // how long a replica may not hear of a new key, at worst
	// publishLead is from a key's publication to its first signature: by then everybody knows it.
	publishLead = jwksMaxAge + reloadInterval + 30*time.Second
)

// keySet is the keys of the file, which always check, and those of the database, which come and go. The newest active one of the
// database signs; without any, the file's first.
type keySet struct {
	file Keys

	asked atomic.Int64 // queries for the keys so far

	mu       sync.RWMutex
	answered int64         // the latest query whose answer is here: what was asked before never replaces it
	rotating []rotatingKey // the newest first
	reloaded time.Time
}

// rotatingKey is a row of signing_keys. It is published from the first moment, signs from activates until a newer one does, and checks
// until retires.
type rotatingKey struct {
	private   *ecdsa.PrivateKey
	public    JWK
	created   time.Time
	activates time.Time
	retires   *time.Time
}

func (k rotatingKey) retired(now time.Time) bool { return k.retires != nil && !now.Before(*k.retires) }

func newKeySet(file Keys) *keySet { return &keySet{file: file} }

func (k *keySet) signing(now time.Time) (*ecdsa.PrivateKey, string) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, key := range k.rotating {
		if !now.Before(key.activates) && !key.retired(now) {
			return key.private, key.public.KeyID
		}
	}
	return k.file.signing, k.file.kid
}

// public returns the key of an id, nil where none checks.
func (k *keySet) public(kid string, now time.Time) *ecdsa.PublicKey {
	if key, known := k.file.public[kid]; known {
		return key
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, key := range k.rotating {
		if key.public.KeyID == kid && !key.retired(now) {
			return &key.private.PublicKey
		}
	}
	return nil
}

// published is the JWKS: all keys that check, the one that signs first.
func (k *keySet) published(now time.Time) []JWK {
	_, signing := k.signing(now)
	k.mu.RLock()
	defer k.mu.RUnlock()
	var first, others []JWK
	add := func(key JWK) {
		if key.KeyID == signing {
			first = append(first, key)
		} else {
			others = append(others, key)
		}
	}
	for _, key := range k.rotating {
		if !key.retired(now) {
			add(key.public)
		}
	}
	for _, key := range k.file.known {
		add(key)
	}
	return append(first, others...)
}

// mayReload bounds how often unknown key ids in tokens lead to a query: once a second.
func (k *keySet) mayReload(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if since := now.Sub(k.reloaded); since >= 0 && since < time.Second {
		return false
	}
	k.reloaded = now
	return true
}

// reloadKeys takes the database's keys.
func (s *Service) reloadKeys(ctx context.Context, db *accountdb.Queries) error {
	query, now := s.keys.asked.Add(1), s.config.Now()
	rows, err := db.SigningKeys(ctx, &now)
	if err != nil {
		return fmt.Errorf("read the signing keys: %w", err)
	}
	keys := make([]rotatingKey, len(rows))
	for i, row := range rows {
		if keys[i], err = s.openKey(row); err != nil {
			return fmt.Errorf("read the signing key %s: %w", row.Kid, err)
		}
	}
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	if query > s.keys.answered {
		s.keys.rotating, s.keys.reloaded, s.keys.answered = keys, now, query
	}
	return nil
}

func (s *Service) openKey(row accountdb.SigningKey) (rotatingKey, error) {
	der, err := s.config.Keyring.Open(row.PrivateKey, signingKeyCell(row.Kid))
	if err != nil {
		return rotatingKey{}, err
	}
	private, err := x509.ParseECPrivateKey(der)
	if err != nil {
		return rotatingKey{}, fmt.Errorf("parse it: %w", err)
	}
	public, err := publicJWK(&private.PublicKey)
	if err != nil {
		return rotatingKey{}, err
	}
	if public.KeyID != row.Kid || private.Curve != elliptic.P256() {
		return rotatingKey{}, errors.New("it is not the key that its id names")
	}
	return rotatingKey{private, public, row.CreatedAt, row.ActivatesAt, row.RetiresAt}, nil
}

func signingKeyCell(kid string) encryption.Cell {
	return encryption.Cell{Table: "signing_keys", Column: "private_key", Row: kid}
}

// SigningKey is a key that access tokens are signed with, as administrators see it.
type SigningKey struct {
	KeyID       string     `json:"kid"`
	CreatedAt   time.Time  `json:"created_at"`
	ActivatesAt time.Time  `json:"activates_at" doc:"It signs from then on; it is published before"`
	RetiresAt   *time.Time `json:"retires_at,omitempty" doc:"It checks until then; absent until a newer key follows"`
}

// Rotation is what a rotation has done.
type Rotation struct {
	SigningKey
	Revoked  []string `json:"revoked,omitempty" doc:"Key ids that check no more, where that was asked for"`
	FileKeys []string `json:"file_keys,omitempty" doc:"Key ids of the operator's file, which no rotation revokes: replace the file and restart"`
}

// RotateKeys makes a key that signs once everybody can know it. The keys before it check until the last token that they signed has
// ended, so that nobody is logged out. With revoke, for keys that leaked, they check no more from now on, on any replica: clients refresh
// their sessions, and the file's first key signs until the new one does.
func (s *Service) RotateKeys(ctx context.Context, admin string, revoke bool) (Rotation, error) {
	key, err := s.newSigningKey()
	if err != nil {
		return Rotation{}, err
	}
	done := Rotation{SigningKey: SigningKey{KeyID: key.Kid, CreatedAt: key.CreatedAt, ActivatesAt: key.ActivatesAt}}
	// A replica that heard late signs with the old key for another reload interval.
	action, retires := "keys-rotated", key.ActivatesAt.Add(reloadInterval+s.config.AccessLifetime+2*leeway)
	if revoke {
		action, retires = "keys-revoked", key.CreatedAt.Add(-leeway) // past by every replica's clock
	}
	err = s.transact(ctx, func(_ pgx.Tx, db *accountdb.Queries) error {
		if err := db.CreateSigningKey(ctx, key); err != nil {
			return err
		}
		retired, err := db.RetireSigningKeys(ctx, accountdb.RetireSigningKeysParams{RetiresAt: &retires, But: key.Kid})
		if err != nil {
			return err
		}
		if revoke {
			done.Revoked, done.FileKeys = retired, s.keys.file.ids()
		}
		if err := db.TellKeysChanged(ctx); err != nil {
			return err
		}
		return s.audit(ctx, db, event{action: action, actor: admin, detail: map[string]any{"kid": key.Kid}})
	})
	if err != nil {
		return Rotation{}, fmt.Errorf("rotate the signing keys: %w", err)
	}
	return done, s.reloadKeys(ctx, s.db)
}

// newSigningKey makes the row of a key that begins now.
func (s *Service) newSigningKey() (accountdb.CreateSigningKeyParams, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), s.config.Rand)
	if err != nil {
		return accountdb.CreateSigningKeyParams{}, fmt.Errorf("make a signing key: %w", err)
	}
	public, err := publicJWK(&private.PublicKey)
	if err != nil {
		return accountdb.CreateSigningKeyParams{}, err
	}
	der, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return accountdb.CreateSigningKeyParams{}, fmt.Errorf("encode a signing key: %w", err)
	}
	sealed, err := s.config.Keyring.Seal(der, signingKeyCell(public.KeyID))
	if err != nil {
		return accountdb.CreateSigningKeyParams{}, fmt.Errorf("seal a signing key: %w", err)
	}
	now := s.config.Now()
	return accountdb.CreateSigningKeyParams{Kid: public.KeyID, PrivateKey: sealed, CreatedAt: now, ActivatesAt: now.Add(publishLead)}, nil
}
