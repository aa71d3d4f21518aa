// Package encryption is encryption at rest: what the database keeps of mails, tokens and other secrets is sealed here.
//
// It owns the format of a sealed value, the master keys and the re-wrapping under a new one. It owns no table: whoever has sealed
// columns says which (Column).
//
// A sealed value is
//
//	version (1 byte) ‖ master key's id (4) ‖ salt (16) ‖ nonce (12) ‖ ciphertext and tag
//
// AES-256-GCM (NIST SP 800-38D) under a key of its own, HKDF-SHA256 (RFC 5869) of the master key and the salt; so no number of
// values wears a key out. Where the value stands (Cell) is associated data: moved to another row, column or user it does not open.
package encryption

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	version   = 1
	idSize    = 4
	saltSize  = 16
	nonceSize = 12
	keySize   = 32
	header    = 1 + idSize + saltSize + nonceSize
	overhead  = header + 16
)

// Cell is where a sealed value stands. Row is the row's key; Owner the user whose row it is, empty where it is nobody's.
type Cell struct{ Table, Column, Owner, Row string }

// associated is the cell as AES-GCM's associated data. Lengths keep two cells from running together into the same bytes.
func (c Cell) associated(sealed []byte) []byte {
	data := bytes.Clone(sealed[:1+idSize+saltSize])
	for _, part := range []string{c.Table, c.Column, c.Owner, c.Row} {
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
}

// Parse reads master keys, one a line, each the base64 of 32 random bytes as `openssl rand -base64 32` prints them. Empty lines and
// lines that begin with # do not count.
func Parse(text []byte, rand io.Reader) (*Keyring, error) {
	k := &Keyring{rand: rand, keys: map[[idSize]byte][]byte{}}
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
	sealed := make([]byte, header, overhead+len(plain))
	sealed[0] = version
	copy(sealed[1:], k.current[:])
	if _, err := io.ReadFull(k.rand, sealed[1+idSize:]); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	gcm, err := k.cipher(sealed)
	if err != nil {
		return nil, err
	}
	return gcm.Seal(sealed, sealed[header-nonceSize:header], plain, at.associated(sealed)), nil
}

// Open decrypts a value that stands in the cell. ErrUnknownKey or ErrSealed when it cannot.
func (k *Keyring) Open(sealed []byte, at Cell) ([]byte, error) {
	if len(sealed) < overhead || sealed[0] != version {
		return nil, fmt.Errorf("open %s.%s: %w", at.Table, at.Column, ErrSealed)
	}
	gcm, err := k.cipher(sealed)
	if err != nil {
		return nil, fmt.Errorf("open %s.%s: %w", at.Table, at.Column, err)
	}
	plain, err := gcm.Open(nil, sealed[header-nonceSize:header], sealed[header:], at.associated(sealed))
	if err != nil {
		return nil, fmt.Errorf("open %s.%s: %w", at.Table, at.Column, ErrSealed)
	}
	return plain, nil
}

// Current says whether a value is sealed under the key that seals now.
func (k *Keyring) Current(sealed []byte) bool {
	return len(sealed) > 1+idSize && sealed[0] == version && bytes.Equal(sealed[1:1+idSize], k.current[:])
}

// cipher derives the value's own key.
func (k *Keyring) cipher(sealed []byte) (cipher.AEAD, error) {
	master, known := k.keys[[idSize]byte(sealed[1:1+idSize])]
	if !known {
		return nil, ErrUnknownKey
	}
	key, err := hkdf.Key(sha256.New, master, sealed[1+idSize:1+idSize+saltSize], "assistd value", keySize)
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
	return gcm, nil
}

// Column is a sealed column, for whoever re-wraps it. Names are SQL identifiers; Key is the primary key's column, Owner the user's
// (empty where rows are nobody's). The value's cell is Table, Name, the owner's and the key's text.
type Column struct{ Table, Name, Key, Owner string }
