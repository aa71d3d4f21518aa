package infra

import (
	"github.com/pulumi/pulumi-tls/sdk/v5/go/tls"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Certificates inside the environment are valid for ten years. In the last one `pulumi up` makes new ones; PostgreSQL and the S3 server read
// them when they start (kubectl rollout restart statefulset). To do it before: pulumi up --target-replace with the certificate's URN. Their keys
// stay, protected; a certificate that is protected could not be made anew.
// One that browsers see may not be valid for longer than 398 days; it is made anew in its last month.
const (
	validHours        = 10 * 365 * 24
	renewHours        = 365 * 24
	ingressValidHours = 397 * 24
	ingressRenewHours = 30 * 24
)

// authority is a CA of the stack's own. Its key stays in the state and is mounted nowhere.
type authority struct {
	key  pulumi.StringOutput
	Cert pulumi.StringOutput
}

// newAuthority makes one: keeps are the options of its key, anew those of the certificate.
func newAuthority(ctx *pulumi.Context, name, commonName string, keeps []pulumi.ResourceOption, anew pulumi.ResourceOption) (*authority, error) {
	key, err := newKey(ctx, name, keeps...)
	if err != nil {
		return nil, err
	}
	cert, err := tls.NewSelfSignedCert(ctx, name, &tls.SelfSignedCertArgs{
		PrivateKeyPem:       key.PrivateKeyPem,
		Subject:             &tls.SelfSignedCertSubjectArgs{CommonName: pulumi.String(commonName)},
		IsCaCertificate:     pulumi.Bool(true),
		SetSubjectKeyId:     pulumi.Bool(true),
		AllowedUses:         texts("cert_signing", "crl_signing"),
		ValidityPeriodHours: pulumi.Int(validHours),
		EarlyRenewalHours:   pulumi.Int(renewHours),
	}, anew)
	if err != nil {
		return nil, err
	}
	return &authority{key: secret(key.PrivateKeyPem), Cert: cert.CertPem}, nil
}

// pair is a server's key and certificate.
type pair struct{ Key, Cert pulumi.StringOutput }

// issue makes a server certificate for names, valid for some hours, the last of them to make the next one.
func (a *authority) issue(
	ctx *pulumi.Context, name string, names []string, valid, renew int, keeps []pulumi.ResourceOption, anew pulumi.ResourceOption,
) (pair, error) {
	key, err := newKey(ctx, name, keeps...)
	if err != nil {
		return pair{}, err
	}
	request, err := tls.NewCertRequest(ctx, name, &tls.CertRequestArgs{
		PrivateKeyPem: key.PrivateKeyPem, DnsNames: texts(names...),
		Subject: &tls.CertRequestSubjectArgs{CommonName: pulumi.String(short(names[0]))},
	}, anew)
	if err != nil {
		return pair{}, err
	}
	cert, err := tls.NewLocallySignedCert(ctx, name, &tls.LocallySignedCertArgs{
		CaCertPem: a.Cert, CaPrivateKeyPem: a.key, CertRequestPem: request.CertRequestPem,
		AllowedUses:         texts("digital_signature", "key_encipherment", "server_auth"),
		SetSubjectKeyId:     pulumi.Bool(true),
		ValidityPeriodHours: pulumi.Int(valid),
		EarlyRenewalHours:   pulumi.Int(renew),
	}, anew)
	if err != nil {
		return pair{}, err
	}
	return pair{Key: secret(key.PrivateKeyPem), Cert: cert.CertPem}, nil
}

// newKey makes a P-256 key.
func newKey(ctx *pulumi.Context, name string, opts ...pulumi.ResourceOption) (*tls.PrivateKey, error) {
	return tls.NewPrivateKey(ctx, name, &tls.PrivateKeyArgs{Algorithm: pulumi.String("ECDSA"), EcdsaCurve: pulumi.String("P256")}, opts...)
}

// short is a name as a common name, which takes 64 letters; the whole name is among the alternative ones.
func short(name string) string {
	if len(name) > 64 {
		return name[:64]
	}
	return name
}

// secret marks a text, so that the engine encrypts it wherever it goes.
func secret(text pulumi.StringInput) pulumi.StringOutput {
	return pulumi.ToSecret(text).(pulumi.StringOutput) //nolint:errcheck // ToSecret keeps the type
}
