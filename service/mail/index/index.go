// Package index makes sealed mail findable without opening it: a blind full-text index, fingerprints that tell copies, and vectors that
// stand for meaning.
//
// It owns how words are found and cut to their stems, the language of queries, and what of a text the database gets to see. Words, bits of
// a fingerprint and features of a vector are HMAC-SHA256 under a key of the user's own. Whoever reads the database without the key learns
// how many different words a message has, which messages of one user share a word, how often and where each stands, and which messages'
// texts are alike; frequent words can be guessed from that. No word of one user can be told from one of another, and nothing can be tried
// out without the key.
package index

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

// Index is one user's. It is not safe for concurrent use.
type Index struct {
	words, fingerprints, features hash.Hash
	tokens                        map[string]string // of words that were hashed already
}

// New makes the index of the user whose key (32 random bytes) it is.
func New(key []byte) (*Index, error) {
	derive := func(purpose string) (hash.Hash, error) {
		derived, err := hkdf.Expand(sha256.New, key, "assistd mail "+purpose, sha256.Size)
		if err != nil {
			return nil, fmt.Errorf("derive the key of %s: %w", purpose, err)
		}
		return hmac.New(sha256.New, derived), nil
	}
	x := &Index{tokens: map[string]string{}}
	var err error
	if x.words, err = derive("words"); err != nil {
		return nil, err
	}
	if x.fingerprints, err = derive("fingerprints"); err != nil {
		return nil, err
	}
	x.features, err = derive("features")
	return x, err
}

const (
	tokenSize  = 8         // bytes of a word's HMAC: two of a million words are the same once in 37 million users
	maxTokens  = 100_000   // kept in memory
	lastPlace  = 1<<14 - 1 // that a tsvector can hold (PostgreSQL manual, 12.11)
	mostPlaces = 255       // of one word, likewise
	gap        = 16        // places between sender, subject and text, so that no phrase runs across
)

var alphabet = base32.HexEncoding.WithPadding(base32.NoPadding)

// token is a word as the database sees it.
func (x *Index) token(word string) string {
	if token, known := x.tokens[word]; known {
		return token
	}
	x.words.Reset()
	_, _ = x.words.Write([]byte(word)) // never fails
	token := strings.ToLower(alphabet.EncodeToString(x.words.Sum(nil)[:tokenSize]))
	if len(x.tokens) < maxTokens {
		x.tokens[word] = token
	}
	return token
}

// Weights of a tsvector's places say which field a word stands in.
const (
	inSubject = 'A'
	inSender  = 'B'
	inText    = 'D'
)

// Document writes a message as a tsvector. Each word stands in it as it is and by its stem, at the same place; words beyond the last
// place that a tsvector can hold are left out, which is some 30 pages.
func (x *Index) Document(sender, subject, text string) string {
	places := map[string][]string{}
	var order []string
	place := 0
	for _, field := range []struct {
		text   string
		weight rune
	}{{sender, inSender}, {subject, inSubject}, {text, inText}} {
		for word := range words(field.text) {
			if place++; place > lastPlace {
				break
			}
			if stopWords[word] {
				continue
			}
			at := strconv.Itoa(place)
			if field.weight != inText {
				at += string(field.weight)
			}
			for _, form := range forms(word) {
				token := x.token(form)
				if len(places[token]) == 0 {
					order = append(order, token)
				}
				if len(places[token]) < mostPlaces {
					places[token] = append(places[token], at)
				}
			}
		}
		place += gap
	}
	var vector strings.Builder
	for _, token := range order {
		if vector.Len() > 0 {
			vector.WriteByte(' ')
		}
		vector.WriteString(token + ":" + strings.Join(places[token], ","))
	}
	return vector.String()
}
