package graph

import (
	"encoding/base64"
	"fmt"
	"maps"
	"strings"
)

// What providers would answer. Values are made up but have the form of real ones, and depend on nothing but the resource's name,
// so that two runs, and two environments, can be compared.

const (
	account = "111122223333" // of functions; resources are in the account that their provider names
	region  = "eu-central-1"
)

// create answers for a resource that the program makes: its id and its outputs.
func (m *monitor) create(r *Resource) (string, map[string]any) {
	outputs := maps.Clone(r.Inputs)
	id := r.Name
	switch {
	case strings.HasPrefix(r.Type, "kubernetes:"):
		id = m.object(r, outputs)
	case strings.HasPrefix(r.Type, "random:"), strings.HasPrefix(r.Type, "tls:"):
		m.generate(r, outputs)
	case strings.HasPrefix(r.Type, "aws:"):
		id = amazon(r, m.account(r), outputs)
	}
	return id, outputs
}

func (m *monitor) object(r *Resource, outputs map[string]any) string {
	meta := maps.Clone(Map(outputs, "metadata"))
	if meta == nil {
		meta = map[string]any{}
	}
	if meta["name"] == nil {
		meta["name"] = r.Name
	}
	meta["uid"] = "uid-" + r.Name
	outputs["metadata"] = meta
	return strings.TrimPrefix(fmt.Sprintf("%v/%v", valueOr(meta["namespace"], ""), meta["name"]), "/")
}

// generate answers for what makes secrets. Each is known, so that a place where it appears in clear is found.
func (m *monitor) generate(r *Resource, outputs map[string]any) {
	value := "generated-secret-of-" + r.Name
	secret := func(keys ...string) {
		for _, key := range keys {
			outputs[key] = Secret{value + "-" + key}
			m.know(value + "-" + key)
		}
	}
	pem := func(key, kind string) string {
		return fmt.Sprintf("-----BEGIN %s-----\n%s-%s\n-----END %s-----\n", kind, value, key, kind)
	}
	switch r.Type {
	case "random:index/randomPassword:RandomPassword":
		secret("result", "bcryptHash")
	case "random:index/randomBytes:RandomBytes":
		bytes := base64.StdEncoding.EncodeToString([]byte(value))
		hex := fmt.Sprintf("%x", value)
		outputs["base64"], outputs["hex"] = Secret{bytes}, Secret{hex}
		m.know(bytes)
		m.know(hex)
	case "random:index/randomString:RandomString", "random:index/randomId:RandomId":
		// Not secret by its type; a program that uses one as a password is found by the check of passwords.
		for _, key := range []string{"result", "hex", "b64Std", "b64Url", "dec"} {
			outputs[key] = "random-of-" + r.Name
		}
	case "tls:index/privateKey:PrivateKey":
		for _, key := range []string{"privateKeyPem", "privateKeyPemPkcs8", "privateKeyOpenssh"} {
			outputs[key] = Secret{pem(key, "PRIVATE KEY")}
		}
		m.know(value + "-privateKeyPem")
		m.know(value + "-privateKeyPemPkcs8")
		outputs["publicKeyPem"] = "-----BEGIN PUBLIC KEY-----\npublic-of-" + r.Name + "\n-----END PUBLIC KEY-----\n"
	case "tls:index/selfSignedCert:SelfSignedCert", "tls:index/locallySignedCert:LocallySignedCert":
		outputs["certPem"] = "-----BEGIN CERTIFICATE-----\ncertificate-of-" + r.Name + "\n-----END CERTIFICATE-----\n"
	case "tls:index/certRequest:CertRequest":
		outputs["certRequestPem"] = "-----BEGIN CERTIFICATE REQUEST-----\nrequest-of-" + r.Name + "\n-----END CERTIFICATE REQUEST-----\n"
	}
}

// amazon answers for AWS resources: ARNs of the right service, since policies are judged by them.
func amazon(r *Resource, account string, outputs map[string]any) string {
	named := func(keys ...string) string {
		for _, key := range keys {
			if s, ok := outputs[key].(string); ok && s != "" {
				return s
			}
		}
		return r.Name
	}
	arn := func(service, resource string) string {
		return fmt.Sprintf("arn:aws:%s:%s:%s:%s", service, region, account, resource)
	}
	id := r.Name
	module, _, _ := strings.Cut(strings.TrimPrefix(r.Type, "aws:"), "/")
	kind := r.Type[strings.LastIndex(r.Type, ":")+1:]
	switch kind {
	case "Bucket", "BucketV2":
		id = named("bucket")
		outputs["bucket"], outputs["arn"] = id, "arn:aws:s3:::"+id
		outputs["bucketRegionalDomainName"] = id + ".s3." + region + ".amazonaws.com"
	case "Key":
		outputs["keyId"], outputs["arn"] = "key-"+r.Name, arn("kms", "key/key-"+r.Name)
		id = "key-" + r.Name
	case "Role":
		id = named("name")
		outputs["name"], outputs["arn"] = id, "arn:aws:iam::"+account+":role/"+id
	case "Policy":
		outputs["arn"] = "arn:aws:iam::" + account + ":policy/" + named("name")
		id = fmt.Sprint(outputs["arn"])
	case "Cluster":
		id = named("name")
		outputs["name"], outputs["arn"], outputs["endpoint"] = id, arn("eks", "cluster/"+id), "https://"+id+".eks.example.com"
		outputs["certificateAuthority"] = map[string]any{"data": base64.StdEncoding.EncodeToString([]byte("certificate of the cluster"))}
		outputs["certificateAuthorities"] = []any{outputs["certificateAuthority"]}
		outputs["version"] = valueOr(outputs["version"], "1.34")
		outputs["vpcConfig"] = withSecurityGroup(outputs["vpcConfig"], "sg-cluster-"+r.Name)
		outputs["identities"] = []any{map[string]any{"oidcs": []any{map[string]any{"issuer": "https://oidc.example.com/" + id}}}}
	case "Repository":
		id = named("name")
		outputs["name"], outputs["arn"] = id, arn("ecr", "repository/"+id)
		outputs["repositoryUrl"] = account + ".dkr.ecr." + region + ".amazonaws.com/" + id
		outputs["registryId"] = account
	case "Secret":
		outputs["arn"] = arn("secretsmanager", "secret:"+named("name", "namePrefix"))
		id = fmt.Sprint(outputs["arn"])
	case "LogGroup":
		id = named("name")
		outputs["name"], outputs["arn"] = id, arn("logs", "log-group:"+id)
	default:
		outputs["arn"] = arn(module, kind+"/"+r.Name)
	}
	return id
}

// account is the one that the resource's provider is held to.
func (m *monitor) account(r *Resource) string {
	urn := r.Provider[:max(strings.LastIndex(r.Provider, "::"), 0)] // the rest is the provider's id
	if p := m.byURN[urn]; p != nil {
		if id := String(p.Inputs, "allowedAccountIds", 0); id != "" {
			return id
		}
	}
	return account
}

func withSecurityGroup(vpc any, id string) any {
	m, ok := vpc.(map[string]any)
	if !ok {
		return vpc
	}
	m = maps.Clone(m)
	m["clusterSecurityGroupId"] = id
	return m
}

func valueOr(v, otherwise any) any {
	if v == nil {
		return otherwise
	}
	return v
}

// answer is what functions of providers say. One that nobody thought of is an error: the graph must not rest on zero values.
func answer(token string, args map[string]any) (map[string]any, error) {
	switch token {
	case "aws:index/getCallerIdentity:getCallerIdentity":
		return map[string]any{"accountId": account, "arn": "arn:aws:iam::" + account + ":role/operator", "userId": "user", "id": account}, nil
	case "aws:index/getRegion:getRegion":
		return map[string]any{"name": region, "id": region, "region": region}, nil
	case "aws:index/getPartition:getPartition":
		return map[string]any{"partition": "aws", "dnsSuffix": "amazonaws.com", "id": "aws"}, nil
	case "aws:index/getAvailabilityZones:getAvailabilityZones":
		names := []any{region + "a", region + "b", region + "c"}
		return map[string]any{"names": names, "zoneIds": []any{"euc1-az1", "euc1-az2", "euc1-az3"}, "id": region}, nil
	case "aws:eks/getClusterAuth:getClusterAuth":
		return map[string]any{"name": args["name"], "token": Secret{"cluster-token"}, "id": "auth"}, nil
	case "kubernetes:yaml:decode", "kubernetes:helm:template":
		return nil, fmt.Errorf("%s needs the provider: declare objects by their types, and charts as Releases", token)
	}
	return nil, fmt.Errorf("nobody answers %s in tests: add it to test/graph/answers.go", token)
}
