package providers

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/eks"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

func properties(t *testing.T, text string) resource.PropertyMap {
	t.Helper()
	var m map[string]any
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return resource.NewPropertyMapFromMap(m)
}

func TestInputsThatTheTypesWouldNotAllow(t *testing.T) {
	args := inputsOf(eks.ClusterArgs{})
	for text, want := range map[string]string{
		`{roleArn: a, vpcConfig: {subnetIds: [s]}}`:                               "",
		`{roleArn: a, vpcConfig: {subnetIds: [s]}, encryptionConfg: {}}`:          "encryptionConfg: is no input",
		`{roleArn: a, vpcConfig: {subnetIds: [s], endpointPublicAcces: true}}`:    "vpcConfig.endpointPublicAcces: is no input",
		`{roleArn: a, vpcConfig: {subnetIds: s}}`:                                 "vpcConfig.subnetIds: is string, and must be a list",
		`{roleArn: 1, vpcConfig: {subnetIds: [s]}}`:                               "roleArn: is number, and must be a string",
		`{vpcConfig: {subnetIds: [s]}}`:                                           "roleArn: is required",
		`{roleArn: a, vpcConfig: {subnetIds: [s], endpointPublicAccess: "true"}}`: "endpointPublicAccess: is string, and must be a boolean",
	} {
		var said []string
		for _, f := range mistyped(properties(t, text), args) {
			said = append(said, string(f.Property)+": "+f.Reason)
		}
		if got := strings.Join(said, "; "); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestAWSMakesUpWhatOthersRead(t *testing.T) {
	p := newAWS(&logger{})
	id, outputs, err := p.resources["aws:eks/cluster:Cluster"].outputs(made{
		kind: "aws:eks/cluster:Cluster", inputs: properties(t, `{name: c, roleArn: r, tags: {a: b}}`), config: properties(t, `{region: eu-west-1}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	if id != "c" || !strings.Contains(outputs["endpoint"].StringValue(), ".eu-west-1.eks.") || !strings.HasSuffix(outputs["arn"].StringValue(), ":cluster/c") ||
		!outputs["certificateAuthority"].IsObject() || !outputs["tagsAll"].DeepEquals(outputs["tags"]) {
		t.Errorf("%s: %v", id, outputs)
	}
	_, again, err := p.resources["aws:eks/cluster:Cluster"].outputs(made{kind: "aws:eks/cluster:Cluster", inputs: properties(t, `{name: c, roleArn: r}`), before: outputs})
	if err != nil || !again["endpoint"].DeepEquals(outputs["endpoint"]) {
		t.Errorf("an update moves the endpoint: %v %v", again["endpoint"], err)
	}
}

func TestPasswords(t *testing.T) {
	id, outputs, err := newRandom(&logger{}).resources["random:index/randomPassword:RandomPassword"].outputs(made{
		inputs: properties(t, `{length: 40, special: false, minNumeric: 5}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	if !outputs["result"].IsSecret() || id != "none" {
		t.Fatalf("the password is no secret, or the id %q tells it", id)
	}
	text := outputs["result"].SecretValue().Element.StringValue()
	if len(text) != 40 || strings.ContainsAny(text, special) || strings.Trim(text, lower+upper+digits) != "" {
		t.Errorf("%d characters of the wrong kinds", len(text))
	}
	if n := strings.Count(strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return '#'
		}
		return r
	}, text), "#"); n < 5 {
		t.Errorf("%d digits", n)
	}
}

// TestCertificates goes the stacks' way: a CA, a key, a request, a certificate; and a server's certificate must verify against the CA.
func TestCertificates(t *testing.T) {
	p := newTLS(&logger{})
	do := func(kind tokens.Type, inputs resource.PropertyMap) resource.PropertyMap {
		t.Helper()
		_, outputs, err := p.resources[kind].outputs(made{kind: kind, inputs: inputs})
		if err != nil {
			t.Fatal(err)
		}
		return plainMap(outputs)
	}
	key := func() resource.PropertyValue {
		return do("tls:index/privateKey:PrivateKey", properties(t, `{algorithm: ECDSA, ecdsaCurve: P256}`))["privateKeyPem"]
	}
	authority := properties(t, `{isCaCertificate: true, validityPeriodHours: 10, allowedUses: [cert_signing], subject: {commonName: ca}}`)
	authority["privateKeyPem"] = key()
	ca := do("tls:index/selfSignedCert:SelfSignedCert", authority)
	ask := properties(t, `{dnsNames: [db.example.com], ipAddresses: [10.0.0.1], subject: {commonName: db}}`)
	ask["privateKeyPem"] = key()
	sign := properties(t, `{validityPeriodHours: 5, earlyRenewalHours: 1, allowedUses: [server_auth, digital_signature]}`)
	sign["certRequestPem"] = do("tls:index/certRequest:CertRequest", ask)["certRequestPem"]
	sign["caCertPem"], sign["caPrivateKeyPem"] = ca["certPem"], authority["privateKeyPem"]
	signed := do("tls:index/locallySignedCert:LocallySignedCert", sign)

	block, _ := pem.Decode([]byte(signed["certPem"].StringValue()))
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ca["certPem"].StringValue()))
	for _, name := range []string{"db.example.com", "10.0.0.1"} {
		if _, err := certificate.Verify(x509.VerifyOptions{DNSName: name, Roots: roots}); err != nil {
			t.Error(err)
		}
	}
	if wantsRenewal(signed) {
		t.Error("a fresh certificate wants renewal")
	}
	signed["validityEndTime"] = resource.NewProperty(time.Now().Add(30 * time.Minute).Format(time.RFC3339))
	if !wantsRenewal(signed) {
		t.Error("half an hour before its end a certificate with an hour's notice wants no renewal")
	}
}

func TestWhatReplacesAnObject(t *testing.T) {
	mutable, strict := &cluster{mutableConfigMaps: true, mutableSecrets: true}, &cluster{}
	for name, c := range map[string]struct {
		cluster       *cluster
		kind          schema.GroupKind
		before, after string
		want          bool
	}{
		"an image":                    {mutable, schema.GroupKind{Group: "apps", Kind: "Deployment"}, `{spec: {template: {spec: {containers: [{image: a}]}}}}`, `{spec: {template: {spec: {containers: [{image: b}]}}}}`, false},
		"a selector":                  {mutable, schema.GroupKind{Group: "apps", Kind: "Deployment"}, `{spec: {selector: {matchLabels: {a: b}}}}`, `{spec: {selector: {matchLabels: {a: c}}}}`, true},
		"a name":                      {mutable, schema.GroupKind{Kind: "Service"}, `{metadata: {name: a}}`, `{metadata: {name: b}}`, true},
		"a volume's size":             {mutable, schema.GroupKind{Group: "apps", Kind: "StatefulSet"}, `{spec: {volumeClaimTemplates: [{spec: {resources: {requests: {storage: 1Gi}}}}]}}`, `{spec: {volumeClaimTemplates: [{spec: {resources: {requests: {storage: 2Gi}}}}]}}`, true},
		"a job's pod":                 {mutable, schema.GroupKind{Group: "batch", Kind: "Job"}, `{spec: {template: {a: 1}}}`, `{spec: {template: {a: 2}}}`, true},
		"data, as the provider is":    {strict, schema.GroupKind{Kind: "ConfigMap"}, `{data: {pg_hba.conf: a}}`, `{data: {pg_hba.conf: b}}`, true},
		"data that may change":        {mutable, schema.GroupKind{Kind: "ConfigMap"}, `{data: {pg_hba.conf: a}}`, `{data: {pg_hba.conf: b}}`, false},
		"data of an immutable object": {mutable, schema.GroupKind{Kind: "Secret"}, `{immutable: true, stringData: {a: b}}`, `{immutable: true, stringData: {a: c}}`, true},
	} {
		before := properties(t, c.before)
		diff := inputDiff(before, properties(t, c.after), func(path string) bool { return c.cluster.replaces(c.kind, objectOf(before), path) })
		if diff.Changes != plugin.DiffSome || replacing(diff) != c.want {
			t.Errorf("%s: %+v, want replacement %t", name, diff, c.want)
		}
	}
	if diff := inputDiff(properties(t, `{a: 1}`), properties(t, `{a: 1}`), nil); diff.Changes != plugin.DiffNone {
		t.Errorf("the same is a change: %+v", diff)
	}
}

func TestSecretsStaySecret(t *testing.T) {
	inputs := properties(t, `{apiVersion: v1, kind: ConfigMap, data: {open: a}}`)
	inputs["data"].ObjectValue()["hidden"] = resource.MakeSecret(resource.NewProperty("b"))
	live := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"uid": "u", "managedFields": []any{}}, "data": map[string]any{"open": "a", "hidden": "b"},
	}}
	state := stateOf(live, inputs, "manager")
	data := state["data"].ObjectValue()
	if !data["hidden"].IsSecret() || data["open"].IsSecret() {
		t.Errorf("the state's data: %v", data)
	}
	if state["metadata"].ObjectValue().HasValue("managedFields") {
		t.Error("the state keeps the bookkeeping of field managers")
	}
	live.Object["kind"] = "Secret"
	if !stateOf(live, nil, "")["data"].IsSecret() {
		t.Error("a Secret's data is in clear text in the state")
	}
}

// TestDrift: what a refresh takes for the inputs is what was declared, as it is now.
func TestDrift(t *testing.T) {
	declared := properties(t, `{apiVersion: v1, kind: Secret, metadata: {name: a, labels: {x: v}}, stringData: {k: old}, spec: {containers: [{name: c, image: i}], empty: []}}`)
	live := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "data": map[string]any{"k": "bmV3", "other": "eA=="},
		"metadata": map[string]any{"name": "a", "uid": "u", "labels": map[string]any{"x": "v", "z": "by another"}},
		"spec":     map[string]any{"containers": []any{map[string]any{"name": "c", "image": "i", "terminationMessagePath": "/dev"}}, "defaulted": true},
	}}
	got := plainMap(liveInputs(live, declared))
	diff := inputDiff(declared, got, func(string) bool { return false })
	var paths []string
	for path := range diff.DetailedDiff {
		paths = append(paths, path)
	}
	if !slices.Equal(paths, []string{"stringData.k"}) || got["stringData"].ObjectValue()["k"].StringValue() != "new" {
		t.Errorf("drift in %v: %v", paths, got)
	}
}
