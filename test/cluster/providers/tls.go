package providers

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi-tls/sdk/v5/go/tls"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
)

// newTLS is the stand-in of pulumi-tls; its keys and certificates are real.
func newTLS(log *logger) *recorded {
	all := []string{"*"}
	return &recorded{name: "tls", version: semver.Version{Major: 5, Minor: 2}, log: log, resources: map[tokens.Type]recipe{
		"tls:index/privateKey:PrivateKey": {
			args: inputsOf(tls.PrivateKeyArgs{}), frozen: all, make: privateKey,
			secrets: []resource.PropertyKey{"privateKeyPem", "privateKeyPemPkcs8", "privateKeyOpenssh"},
		},
		"tls:index/certRequest:CertRequest": {
			args: inputsOf(tls.CertRequestArgs{}), frozen: all, secrets: []resource.PropertyKey{"privateKeyPem"}, make: certRequest,
		},
		// earlyRenewalHours is only a wish about later, as in the real provider.
		"tls:index/selfSignedCert:SelfSignedCert": {
			args: inputsOf(tls.SelfSignedCertArgs{}), make: selfSigned, expired: wantsRenewal, secrets: []resource.PropertyKey{"privateKeyPem"},
			frozen: []string{"allowedUses", "dnsNames", "ipAddresses", "isCaCertificate", "privateKeyPem", "setAuthorityKeyId", "setSubjectKeyId", "subject", "uris", "validityPeriodHours"},
		},
		"tls:index/locallySignedCert:LocallySignedCert": {
			args: inputsOf(tls.LocallySignedCertArgs{}), make: locallySigned, expired: wantsRenewal, secrets: []resource.PropertyKey{"caPrivateKeyPem"},
			frozen: []string{"allowedUses", "caCertPem", "caPrivateKeyPem", "certRequestPem", "isCaCertificate", "setSubjectKeyId", "validityPeriodHours"},
		},
	}}
}

func privateKey(m made) (resource.ID, resource.PropertyMap, error) {
	key, err := newKey(m.inputs)
	if err != nil {
		return "", nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", nil, fmt.Errorf("encoding the public key: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", nil, fmt.Errorf("encoding the private key: %w", err)
	}
	traditional := pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		traditional = pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			return "", nil, fmt.Errorf("encoding the private key: %w", err)
		}
		traditional = pem.Block{Type: "EC PRIVATE KEY", Bytes: der}
	}
	sum := sha256.Sum256(public)
	return resource.ID(hex.EncodeToString(sum[:20])), resource.PropertyMap{
		"privateKeyPem":      resource.NewProperty(string(pem.EncodeToMemory(&traditional))),
		"privateKeyPemPkcs8": resource.NewProperty(encodePEM("PRIVATE KEY", pkcs8)),
		"publicKeyPem":       resource.NewProperty(encodePEM("PUBLIC KEY", public)),
	}, nil
}

func newKey(inputs resource.PropertyMap) (crypto.Signer, error) {
	switch algorithm := inputs["algorithm"].StringValue(); algorithm {
	case "ED25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case "RSA":
		bits := 2048
		if inputs.HasValue("rsaBits") {
			bits = int(inputs["rsaBits"].NumberValue())
		}
		return rsa.GenerateKey(rand.Reader, bits)
	case "ECDSA":
		name := "P224"
		if inputs.HasValue("ecdsaCurve") {
			name = inputs["ecdsaCurve"].StringValue()
		}
		curve, ok := map[string]elliptic.Curve{"P224": elliptic.P224(), "P256": elliptic.P256(), "P384": elliptic.P384(), "P521": elliptic.P521()}[name]
		if !ok {
			return nil, fmt.Errorf("curve %q is none of P224, P256, P384 and P521", name)
		}
		return ecdsa.GenerateKey(curve, rand.Reader)
	default:
		return nil, fmt.Errorf("algorithm %q is none of RSA, ECDSA and ED25519", algorithm)
	}
}

func encodePEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// decodePEM reads the one block that a property holds.
func decodePEM(inputs resource.PropertyMap, key resource.PropertyKey) ([]byte, error) {
	block, _ := pem.Decode([]byte(inputs[key].StringValue()))
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM", key)
	}
	return block.Bytes, nil
}

func signer(inputs resource.PropertyMap, key resource.PropertyKey) (crypto.Signer, string, error) {
	der, err := decodePEM(inputs, key)
	if err != nil {
		return nil, "", err
	}
	if k, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return k, "RSA", nil
	}
	if k, err := x509.ParseECPrivateKey(der); err == nil {
		return k, "ECDSA", nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, "", fmt.Errorf("%s is no private key: %w", key, err)
	}
	switch k := parsed.(type) {
	case ed25519.PrivateKey:
		return k, "ED25519", nil
	case *rsa.PrivateKey:
		return k, "RSA", nil
	case *ecdsa.PrivateKey:
		return k, "ECDSA", nil
	}
	return nil, "", errors.New(string(key) + " is a key of an unknown kind")
}
