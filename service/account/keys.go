package account

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
)

// Keys sign and check access tokens: the first signs, all of them check, so that a key can be followed by a new one without
// logging anybody out.
type Keys struct {
	signing *ecdsa.PrivateKey
	kid     string
	known   []JWK
	public  map[string]*ecdsa.PublicKey
}

// JWK is a public key as RFC 7517 and RFC 7518, section 6.2, write it.
type JWK struct {
	KeyType   string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	Y         string `json:"y"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
}

// ParseKeys reads one or more P-256 private keys in PEM, each as SEC 1 (EC PRIVATE KEY) or PKCS #8 (PRIVATE KEY).
func ParseKeys(text []byte) (Keys, error) {
	keys := Keys{public: map[string]*ecdsa.PublicKey{}}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		key, err := parseKey(block)
		if err != nil {
			return Keys{}, err
		}
		jwk, err := publicJWK(&key.PublicKey)
		if err != nil {
			return Keys{}, err
		}
		if keys.signing == nil {
			keys.signing, keys.kid = key, jwk.KeyID
		}
		keys.known = append(keys.known, jwk)
		keys.public[jwk.KeyID] = &key.PublicKey
	}
	if keys.signing == nil {
		return Keys{}, errors.New("no PEM block with a private key found")
	}
	return keys, nil
}

func (k Keys) ids() []string {
	ids := make([]string, len(k.known))
	for i, key := range k.known {
		ids[i] = key.KeyID
	}
	return ids
}

func parseKey(block *pem.Block) (*ecdsa.PrivateKey, error) {
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if block.Type == "PRIVATE KEY" {
		var parsed any
		if parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			key, _ = parsed.(*ecdsa.PrivateKey)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("parse the PEM block %q: %w", block.Type, err)
	}
	if key == nil || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("the PEM block %q is not an elliptic curve key on P-256", block.Type)
	}
	return key, nil
}

// publicJWK names the key by its RFC 7638 thumbprint.
func publicJWK(key *ecdsa.PublicKey) (JWK, error) {
	point, err := key.Bytes() // 0x04, X, Y: SEC 1, section 2.3.3
	if err != nil {
		return JWK{}, fmt.Errorf("encode the public key: %w", err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	x, y := encode(point[1:33]), encode(point[33:])
	thumbprint := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + x + `","y":"` + y + `"}`))
	return JWK{KeyType: "EC", Curve: "P-256", X: x, Y: y, Use: "sig", Algorithm: "ES256", KeyID: encode(thumbprint[:])}, nil
}
