package encryption_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/smart-assistant/platform/service/encryption"
)

// master is a line of a key file; letters stand for keys.
func master(letter byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{letter}, 32)) + "\n"
}

func keyring(t testing.TB, text string) *encryption.Keyring {
	t.Helper()
	k, err := encryption.Parse([]byte(text), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var here = encryption.Cell{Table: "emails", Column: "body", Owner: "u1", Row: "r1"}

func TestSealAndOpen(t *testing.T) {
	k := keyring(t, master('a'))
	for _, plain := range []string{"", "secret", strings.Repeat("long ", 100_000)} {
		sealed, err := k.Seal([]byte(plain), here)
		if err != nil {
			t.Fatal(err)
		}
		if len(plain) > 0 && bytes.Contains(sealed, []byte(plain)) {
			t.Error("the value stands in what was sealed")
		}
		if again, _ := k.Seal([]byte(plain), here); bytes.Equal(again, sealed) {
			t.Error("sealed twice it looks the same")
		}
		opened, err := k.Open(sealed, here)
		if err != nil || string(opened) != plain {
			t.Errorf("opened %.20q, %v", opened, err)
		}
	}
}

// TestKeysOfValues: values that a process seals share a key, never a nonce; another process has another key, and opens what the first sealed.
func TestKeysOfValues(t *testing.T) {
	const salt, nonce, content = 5, 21, 33 // where they begin
	one, other := keyring(t, master('a')), keyring(t, master('a'))
	nonces := map[string]bool{}
	var first []byte
	for range 1000 {
		sealed, err := one.Seal([]byte("secret"), here)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = sealed
		}
		if !bytes.Equal(sealed[salt:nonce], first[salt:nonce]) || nonces[string(sealed[nonce:content])] {
			t.Fatal("another salt, or a nonce that was there before")
		}
		nonces[string(sealed[nonce:content])] = true
	}
	theirs, err := other.Seal([]byte("secret"), here)
	if err != nil || bytes.Equal(theirs[salt:nonce], first[salt:nonce]) {
		t.Errorf("two processes share a salt, or %v", err)
	}
	if opened, err := other.Open(first, here); err != nil || string(opened) != "secret" {
		t.Errorf("%q, %v", opened, err)
	}
}

// TestMovedValuesDoNotOpen: neither in another row, column, table or user's, nor where the parts of a cell merely run together alike.
func TestMovedValuesDoNotOpen(t *testing.T) {
	k := keyring(t, master('a'))
	sealed, err := k.Seal([]byte("secret"), here)
	if err != nil {
		t.Fatal(err)
	}
	for name, cell := range map[string]encryption.Cell{
		"row": {Table: "emails", Column: "body", Owner: "u1", Row: "r2"}, "column": {Table: "emails", Column: "snippet", Owner: "u1", Row: "r1"},
		"table": {Table: "drafts", Column: "body", Owner: "u1", Row: "r1"}, "user": {Table: "emails", Column: "body", Owner: "u2", Row: "r1"},
		"shifted": {Table: "emailsb", Column: "ody", Owner: "u1", Row: "r1"}, "owner in row": {Table: "emails", Column: "body", Row: "u1r1"}, "nobody": {},
	} {
		if _, err := k.Open(sealed, cell); !errors.Is(err, encryption.ErrSealed) {
			t.Errorf("another %s: %v", name, err)
		}
	}
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	k := keyring(t, master('a'))
	sealed, err := k.Seal([]byte("secret"), here)
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		for bit := range 8 {
			damaged := bytes.Clone(sealed)
			damaged[i] ^= 1 << bit
			if _, err := k.Open(damaged, here); !errors.Is(err, encryption.ErrSealed) && !errors.Is(err, encryption.ErrUnknownKey) {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
		}
	}
	for n := range sealed {
		if _, err := k.Open(sealed[:n], here); err == nil {
			t.Fatalf("%d bytes of it open", n)
		}
	}
}

func TestMasterKeysFollowEachOther(t *testing.T) {
	old := keyring(t, master('a'))
	sealed, err := old.Seal([]byte("secret"), here)
	if err != nil {
		t.Fatal(err)
	}
	both := keyring(t, "# the new one seals\n"+master('b')+"\n"+master('a'))
	if opened, err := both.Open(sealed, here); err != nil || string(opened) != "secret" {
		t.Errorf("%q, %v", opened, err)
	}
	if both.Current(sealed) || !old.Current(sealed) {
		t.Error("what is current is the first key's")
	}
	fresh, err := both.Seal([]byte("secret"), here)
	if err != nil || !both.Current(fresh) {
		t.Errorf("sealed anew it is not current: %v", err)
	}
	if _, err := keyring(t, master('b')).Open(sealed, here); !errors.Is(err, encryption.ErrUnknownKey) {
		t.Errorf("without the old key: %v", err)
	}
}

// TestHMAC: each master key and each purpose has a key of its own, and the first master key's comes first.
func TestHMAC(t *testing.T) {
	sums := func(masters, purpose, message string) (found []string) {
		all, err := keyring(t, masters).HMAC(purpose, []byte(message))
		if err != nil {
			t.Fatal(err)
		}
		for _, sum := range all {
			found = append(found, string(sum))
		}
		return found
	}
	a, b := sums(master('a'), "purpose", "message"), sums(master('b'), "purpose", "message")
	if both := sums(master('b')+master('a'), "purpose", "message"); !slices.Equal(both, slices.Concat(b, a)) || a[0] == b[0] {
		t.Errorf("under both %x, under one %x, under the other %x", both, a, b)
	}
	if a[0] == sums(master('a'), "another", "message")[0] || a[0] == sums(master('a'), "purpose", "massage")[0] {
		t.Error("another purpose or message has the same")
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "a comment": "# key\n", "no base64": "not a key\n", "16 bytes": base64.StdEncoding.EncodeToString(make([]byte, 16)),
		"33 bytes": base64.StdEncoding.EncodeToString(make([]byte, 33)), "the same twice": master('a') + master('a'), "a damaged second": master('a') + "x",
	} {
		if _, err := encryption.Parse([]byte(text), rand.Reader); err == nil {
			t.Errorf("%s is taken", name)
		} else if len(text) > 20 && strings.Contains(err.Error(), text[:20]) {
			t.Errorf("%s: the error repeats the key: %v", name, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	k := keyring(f, master('a'))
	sealed, err := k.Seal([]byte("secret"), here)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add([]byte{})
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, text []byte) {
		if opened, err := k.Open(text, here); err == nil && !bytes.Equal(text, sealed) {
			t.Errorf("forged: %x opens as %q", text, opened)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	k := keyring(b, master('a'))
	sealed, err := k.Seal(bytes.Repeat([]byte("x"), 200), here)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := k.Open(sealed, here); err != nil {
			b.Fatal(err)
		}
	}
}
