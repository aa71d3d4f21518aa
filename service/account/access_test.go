package account_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"github.com/smart-assistant/platform/service/account"
)

func TestParseKeys(t *testing.T) {
	key := func(curve elliptic.Curve) *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	block := func(kind string, der []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	sec1 := func(k *ecdsa.PrivateKey) []byte {
		der, err := x509.MarshalECPrivateKey(k)
		return block("EC PRIVATE KEY", der, err)
	}
	pkcs8 := func(k any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		return block("PRIVATE KEY", der, err)
	}
	p256 := key(elliptic.P256())
	public, err := x509.MarshalPKIXPublicKey(&p256.PublicKey)
	for name, test := range map[string]struct {
		text []byte
		good bool
	}{
		"SEC 1":           {sec1(p256), true},
		"PKCS 8":          {pkcs8(p256), true},
		"two keys":        {append(sec1(p256), pkcs8(key(elliptic.P256()))...), true},
		"text around it":  {append([]byte("my key\n"), sec1(p256)...), true},
		"empty":           {nil, false},
		"no PEM":          {[]byte("secret"), false},
		"P-384":           {sec1(key(elliptic.P384())), false},
		"a second P-384":  {append(sec1(p256), sec1(key(elliptic.P384()))...), false},
		"a public key":    {block("PUBLIC KEY", public, err), false},
		"damaged":         {block("EC PRIVATE KEY", []byte{1, 2, 3}, nil), false},
		"another's bytes": {block("PRIVATE KEY", public, err), false},
	} {
		if _, err := account.ParseKeys(test.text); (err == nil) != test.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
