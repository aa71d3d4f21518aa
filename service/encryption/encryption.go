// Package encryption is encryption at rest: what the database keeps of mails, tokens and other secrets is sealed here.
//
// It owns the format of a sealed value, the master keys and the re-wrapping under a new one. It owns no table: whoever has sealed
// columns says which (Column).
//
// A sealed value is
//
//	version (1 byte) ‖ master key's id (4) ‖ salt (16) ‖ nonce (12) ‖ ciphertext and tag
//
// AES-256-GCM (NIST SP 800-38D) under a key that is HKDF-SHA256 (RFC 5869) of the master key and the salt. A process draws a new salt
// when it starts and after each 2²⁰ values, so that no number of values wears a key out: random nonces are good for 2³² under one
// (section 8.3 there). Where the value stands (Cell) is associated data: moved to another row, column or user it does not open.
package encryption

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	version   = 1
	idSize    = 4
	saltSize  = 16
	nonceSize = 12
	keySize   = 32
	prefix    = 1 + idSize + saltSize // what says which key it is
	header    = prefix + nonceSize
	overhead  = header + 16

	valuesPerSalt = 1 << 20
	rememberedAs  = 1024 // keys that were derived, some 1 kB each
)

// Cell is where a sealed value stands. Row is the row's key; Owner the user whose row it is, empty where it is nobody's.
type Cell struct{ Table, Column, Owner, Row string }

// associated is the cell as AES-GCM's associated data. Lengths keep two cells from running together into the same bytes.
func (c Cell) associated(sealed []byte) []byte {
	data := make([]byte, 0, prefix+4*4+len(c.Table)+len(c.Column)+len(c.Owner)+len(c.Row))
	data = append(data, sealed[:prefix]...)
	for _, part := range [...]string{c.Table, c.Column, c.Owner, c.Row} {
		data = binary.BigEndian.AppendUint32(data, uint32(len(part)))
		data = append(data, part...)
	}
	return data
}

// Keyring holds the master keys: the first seals, each opens what it sealed. It is safe for concurrent use.
type Keyring struct {
	rand    io.Reader
	current [idSize]byte
	keys    map[[idSize]byte][]byte
	derived *lru.Cache[[prefix]byte, cipher.AEAD] // deriving one takes longer than opening a short value

	mu     sync.Mutex
	sealer [prefix]byte // of the values that are sealed now
	left   int          // how many more of them there will be
}

// Parse reads master keys, one a line, each the base64 of 32 random bytes as `openssl rand -base64 32` prints them. Empty lines and
// lines that begin with # do not count.
func Parse(text []byte, rand io.Reader) (*Keyring, error) {
	derived, err := lru.New[[prefix]byte, cipher.AEAD](rememberedAs)
	if err != nil {
		return nil, err
	}
	k := &Keyring{rand: rand, keys: map[[idSize]byte][]byte{}, derived: derived}
	for number, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		master, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(master) != keySize {
			return nil, fmt.Errorf("line %d is not the base64 of %d bytes", number+1, keySize)
		}
		name, err := hkdf.Key(sha256.New, master, nil, "assistd master key id", idSize)
		if err != nil {
			return nil, fmt.Errorf("name the key of line %d: %w", number+1, err)
		}
		id := [idSize]byte(name)
		if len(k.keys) == 0 {
			k.current = id
		}
		if _, twice := k.keys[id]; twice {
			return nil, fmt.Errorf("line %d repeats a key", number+1)
		}
		k.keys[id] = master
	}
	if len(k.keys) == 0 {
		return nil, errors.New("no master key found: want the base64 of 32 random bytes")
	}
	return k, nil
}

// Older is how many keys there are beside the one that seals.
func (k *Keyring) Older() int { return len(k.keys) - 1 }

// ErrUnknownKey is a value that was sealed under a master key which this keyring does not hold.
var ErrUnknownKey = errors.New("sealed under a master key that is not here")

// ErrSealed is a value that does not open: damaged, forged, or standing where it was not sealed for.
var ErrSealed = errors.New("the sealed value is damaged or belongs elsewhere")

// Seal encrypts a value for its cell.
func (k *Keyring) Seal(plain []byte, at Cell) ([]byte, error) {
	which, err := k.next()
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, header, overhead+len(plain))
	copy(sealed, which[:])
	if _, err := io.ReadFull(k.rand, sealed[prefix:]); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	gcm, err := k.cipher(which)
	if err != nil {
		return nil, err
	}
	return gcm.Seal(sealed, sealed[prefix:header], plain, at.associated(sealed)), nil
}

// next says under which key the next value is sealed.
func (k *Keyring) next() ([prefix]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.left == 0 {
		fresh := [prefix]byte{version}
		copy(fresh[1:], k.current[:])
		if _, err := io.ReadFull(k.rand, fresh[1+idSize:]); err != nil {
			return fresh, fmt.Errorf("read randomness: %w", err)
		}
		k.sealer, k.left = fresh, valuesPerSalt
	}
	k.left--
	return k.sealer, nil
}

// Open decrypts a value that stands in the cell. ErrUnknownKey or ErrSealed when it cannot.
func (k *Keyring) Open(sealed []byte, at Cell) ([]byte, error) {
	if len(sealed) < overhead || sealed[0] != version {
		return nil, fmt.Errorf("open %s.%s: %w", at.Table, at.Column, ErrSealed)
	}
	gcm, err := k.cipher([prefix]byte(sealed))
	if err != nil {
		return nil, fmt.Errorf("open %s.%s: %w", at.Table, at.Column, err)
	}
	plain, err := gcm.Open(nil, sealed[prefix:header], sealed[header:], at.associated(sealed))
	if err != nil {
		return nil, fmt.Errorf("open %s.%s: %w", at.Table, at.Column, ErrSealed)
	}
	return plain, nil
}

// Current says whether a value is sealed under the key that seals now.
func (k *Keyring) Current(sealed []byte) bool {
	return len(sealed) > 1+idSize && sealed[0] == version && bytes.Equal(sealed[1:1+idSize], k.current[:])
}

// HMAC is HMAC-SHA256 (RFC 2104) of a message under a key for the purpose, which is HKDF-SHA256 of a master key: once for each of them, that of
// the one which seals first, so that what was kept under an older one is still recognised.
func (k *Keyring) HMAC(purpose string, message []byte) ([][]byte, error) {
	ids := append([][idSize]byte{k.current}, slices.DeleteFunc(slices.Collect(maps.Keys(k.keys)), func(id [idSize]byte) bool { return id == k.current })...)
	sums := make([][]byte, len(ids))
	for i, id := range ids {
		key, err := hkdf.Key(sha256.New, k.keys[id], nil, "assistd HMAC "+purpose, keySize)
		if err != nil {
			return nil, fmt.Errorf("derive the key for %s: %w", purpose, err)
		}
		mac := hmac.New(sha256.New, key)
		mac.Write(message) // never an error (package hash)
		sums[i] = mac.Sum(nil)
	}
	return sums, nil
}

// cipher derives the key that a value's beginning names.
func (k *Keyring) cipher(which [prefix]byte) (cipher.AEAD, error) {
	if gcm, known := k.derived.Get(which); known {
		return gcm, nil
	}
	master, known := k.keys[[idSize]byte(which[1:])]
	if !known {
		return nil, ErrUnknownKey
	}
	key, err := hkdf.Key(sha256.New, master, which[1+idSize:], "assistd value", keySize)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("set up AES: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("set up GCM: %w", err)
	}
	k.derived.Add(which, gcm)
	return gcm, nil
}

// Column is a sealed column, for whoever re-wraps it. Names are SQL identifiers; Key is the primary key's column, Owner the user's
// (empty where rows are nobody's). The value's cell is Table, Name, the owner's and the key's text.
type Column struct{ Table, Name, Key, Owner string }
