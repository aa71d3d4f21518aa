package providers

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

var keyUses = map[string]x509.KeyUsage{
	"digital_signature": x509.KeyUsageDigitalSignature, "content_commitment": x509.KeyUsageContentCommitment,
	"key_encipherment": x509.KeyUsageKeyEncipherment, "data_encipherment": x509.KeyUsageDataEncipherment,
	"key_agreement": x509.KeyUsageKeyAgreement, "cert_signing": x509.KeyUsageCertSign, "crl_signing": x509.KeyUsageCRLSign,
	"encipher_only": x509.KeyUsageEncipherOnly, "decipher_only": x509.KeyUsageDecipherOnly,
}

var extendedUses = map[string]x509.ExtKeyUsage{
	"any_extended": x509.ExtKeyUsageAny, "server_auth": x509.ExtKeyUsageServerAuth, "client_auth": x509.ExtKeyUsageClientAuth,
	"code_signing": x509.ExtKeyUsageCodeSigning, "email_protection": x509.ExtKeyUsageEmailProtection,
	"timestamping": x509.ExtKeyUsageTimeStamping, "ocsp_signing": x509.ExtKeyUsageOCSPSigning,
}

func certRequest(m made) (resource.ID, resource.PropertyMap, error) {
	key, algorithm, err := signer(m.inputs, "privateKeyPem")
	if err != nil {
		return "", nil, err
	}
	ips, err := addresses(m.inputs)
	if err != nil {
		return "", nil, err
	}
	uris, err := links(m.inputs)
	if err != nil {
		return "", nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: subject(m.inputs), DNSNames: texts(m.inputs, "dnsNames"), IPAddresses: ips, URIs: uris,
	}, key)
	if err != nil {
		return "", nil, fmt.Errorf("making the certificate request: %w", err)
	}
	return resource.ID(serial().String()), resource.PropertyMap{
		"certRequestPem": resource.NewProperty(encodePEM("CERTIFICATE REQUEST", der)), "keyAlgorithm": resource.NewProperty(algorithm),
	}, nil
}

func selfSigned(m made) (resource.ID, resource.PropertyMap, error) {
	key, algorithm, err := signer(m.inputs, "privateKeyPem")
	if err != nil {
		return "", nil, err
	}
	c, err := template(m.inputs)
	if err != nil {
		return "", nil, err
	}
	c.Subject, c.DNSNames = subject(m.inputs), texts(m.inputs, "dnsNames")
	if c.IPAddresses, err = addresses(m.inputs); err != nil {
		return "", nil, err
	}
	if c.URIs, err = links(m.inputs); err != nil {
		return "", nil, err
	}
	id, added, err := issue(c, c, key.Public(), key)
	if err != nil {
		return "", nil, err
	}
	added["keyAlgorithm"] = resource.NewProperty(algorithm)
	return id, added, nil
}

func locallySigned(m made) (resource.ID, resource.PropertyMap, error) {
	key, algorithm, err := signer(m.inputs, "caPrivateKeyPem")
	if err != nil {
		return "", nil, err
	}
	der, err := decodePEM(m.inputs, "caCertPem")
	if err != nil {
		return "", nil, err
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		return "", nil, fmt.Errorf("reading caCertPem: %w", err)
	}
	if der, err = decodePEM(m.inputs, "certRequestPem"); err != nil {
		return "", nil, err
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return "", nil, fmt.Errorf("reading certRequestPem: %w", err)
	}
	if err := request.CheckSignature(); err != nil {
		return "", nil, fmt.Errorf("checking certRequestPem: %w", err)
	}
	c, err := template(m.inputs)
	if err != nil {
		return "", nil, err
	}
	c.Subject, c.DNSNames, c.IPAddresses, c.URIs = request.Subject, request.DNSNames, request.IPAddresses, request.URIs
	id, added, err := issue(c, ca, request.PublicKey, key)
	if err != nil {
		return "", nil, err
	}
	added["caKeyAlgorithm"] = resource.NewProperty(algorithm)
	return id, added, nil
}

// template is what both kinds of certificate take from their inputs.
func template(inputs resource.PropertyMap) (*x509.Certificate, error) {
	c := &x509.Certificate{SerialNumber: serial(), NotBefore: time.Now().UTC().Truncate(time.Second), BasicConstraintsValid: true}
	c.NotAfter = c.NotBefore.Add(time.Duration(inputs["validityPeriodHours"].NumberValue()) * time.Hour)
	c.IsCA = inputs.HasValue("isCaCertificate") && inputs["isCaCertificate"].BoolValue()
	for _, use := range texts(inputs, "allowedUses") {
		key, isKeyUse := keyUses[use]
		extended, isExtended := extendedUses[use]
		switch {
		case isKeyUse:
			c.KeyUsage |= key
		case isExtended:
			c.ExtKeyUsage = append(c.ExtKeyUsage, extended)
		default:
			return nil, fmt.Errorf("allowedUses knows no %q", use)
		}
	}
	return c, nil
}

func issue(c, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (resource.ID, resource.PropertyMap, error) {
	der, err := x509.CreateCertificate(rand.Reader, c, parent, public, key)
	if err != nil {
		return "", nil, fmt.Errorf("signing the certificate: %w", err)
	}
	return resource.ID(c.SerialNumber.String()), resource.PropertyMap{
		"certPem":           resource.NewProperty(encodePEM("CERTIFICATE", der)),
		"validityStartTime": resource.NewProperty(c.NotBefore.Format(time.RFC3339)),
		"validityEndTime":   resource.NewProperty(c.NotAfter.Format(time.RFC3339)),
		"readyForRenewal":   resource.NewProperty(false),
	}, nil
}

// wantsRenewal: the certificate's end is nearer than earlyRenewalHours.
func wantsRenewal(outputs resource.PropertyMap) bool {
	if !outputs.HasValue("validityEndTime") {
		return false
	}
	end, err := time.Parse(time.RFC3339, outputs["validityEndTime"].StringValue())
	if err != nil {
		return true
	}
	early := 0.0
	if outputs.HasValue("earlyRenewalHours") {
		early = outputs["earlyRenewalHours"].NumberValue()
	}
	return time.Now().After(end.Add(-time.Duration(early) * time.Hour))
}

func subject(inputs resource.PropertyMap) pkix.Name {
	if !inputs.HasValue("subject") {
		return pkix.Name{}
	}
	fields := inputs["subject"].ObjectValue()
	text := func(k resource.PropertyKey) []string {
		if !fields.HasValue(k) {
			return nil
		}
		return []string{fields[k].StringValue()}
	}
	name := pkix.Name{
		Organization: text("organization"), OrganizationalUnit: text("organizationalUnit"), Locality: text("locality"),
		Province: text("province"), Country: text("country"), PostalCode: text("postalCode"), StreetAddress: texts(fields, "streetAddresses"),
	}
	if cn := text("commonName"); cn != nil {
		name.CommonName = cn[0]
	}
	return name
}

func texts(inputs resource.PropertyMap, key resource.PropertyKey) []string {
	if !inputs.HasValue(key) {
		return nil
	}
	var out []string
	for _, v := range inputs[key].ArrayValue() {
		out = append(out, v.StringValue())
	}
	return out
}

func addresses(inputs resource.PropertyMap) ([]net.IP, error) {
	var out []net.IP
	for _, text := range texts(inputs, "ipAddresses") {
		ip := net.ParseIP(text)
		if ip == nil {
			return nil, fmt.Errorf("ipAddresses: %q is no address", text)
		}
		out = append(out, ip)
	}
	return out, nil
}

func links(inputs resource.PropertyMap) ([]*url.URL, error) {
	var out []*url.URL
	for _, text := range texts(inputs, "uris") {
		u, err := url.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("uris: %w", err)
		}
		out = append(out, u)
	}
	return out, nil
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(fmt.Sprintf("no randomness: %v", err))
	}
	return n
}
