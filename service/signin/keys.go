package signin

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/smart-assistant/platform/service/telemetry"
)

// keySet is a provider's published keys (RFC 7517). It implements oidc.KeySet.
//
// New keys come with a new id (OpenID Connect Core 1.0, section 10.1.1), so the keys are read again when a token names an id that is not
// here, and at most once in keysPause: no stream of forged tokens becomes a stream of requests. A key that comes under the id of another
// one is not believed while this process lives: that is no rotation.
type keySet struct {
	url  string
	http *http.Client
	now  telemetry.Clock

	mu     sync.Mutex
	keys   []jose.JSONWebKey
	readAt time.Time
	first  map[string]string // the thumbprint of the first key of an id
}

const (
	keysPause    = 10 * time.Second
	keysLifetime = time.Hour // after which a key that the provider withdrew is forgotten
	maxKeys      = 1 << 20   // bytes
)

func newKeySet(url string, client *http.Client, now telemetry.Clock) *keySet {
	return &keySet{url: url, http: client, now: now, first: map[string]string{}}
}

// VerifySignature returns what a token says if one of the provider's keys signed it. Which algorithms may is the verifier's business.
func (k *keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	signed, err := jose.ParseSigned(token, []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
	})
	if err != nil || len(signed.Signatures) != 1 {
		return nil, errors.New("the token is not signed once with a public key")
	}
	keys, err := k.find(ctx, signed.Signatures[0].Header.KeyID)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if payload, err := signed.Verify(key.Key); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("none of the provider's keys signed the token")
}

// find returns the keys of an id. A token without one may be signed by any of them.
func (k *keySet) find(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	age := k.now().Sub(k.readAt)
	if known := k.named(id); age < keysPause || len(known) > 0 && age < keysLifetime {
		return known, nil
	}
	if err := k.read(ctx); err != nil {
		return nil, fmt.Errorf("read the provider's keys: %w", err)
	}
	return k.named(id), nil
}

func (k *keySet) named(id string) []jose.JSONWebKey {
	var found []jose.JSONWebKey
	for _, key := range k.keys {
		if id == "" || key.KeyID == id {
			found = append(found, key)
		}
	}
	return found
}

func (k *keySet) read(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return err
	}
	response, err := k.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", k.url, response.Status)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxKeys)).Decode(&set); err != nil {
		return fmt.Errorf("%s is no key set: %w", k.url, err)
	}
	k.keys, k.readAt = nil, k.now()
	for _, text := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(text, &key) != nil || !key.IsPublic() || key.Use == "enc" {
			continue // "implementations SHOULD ignore JWKs that use kty values that are not understood": RFC 7517, section 5
		}
		thumbprint, err := key.Thumbprint(crypto.SHA256)
		if err != nil {
			return fmt.Errorf("name a key of %s: %w", k.url, err)
		}
		if first, seen := k.first[key.KeyID]; key.KeyID != "" && seen && first != string(thumbprint) {
			continue
		}
		k.first[key.KeyID] = string(thumbprint)
		k.keys = append(k.keys, key)
	}
	return nil
}
