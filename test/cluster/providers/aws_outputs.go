package providers

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// invent makes up an id and the outputs that AWS would add.
func invent(c cloud, m made) (resource.ID, resource.PropertyMap, error) {
	account, region := accountOf(m.config), "us-east-1"
	if v := plain(m.config["region"]); v.IsString() {
		region = v.StringValue()
	}
	id := c.prefix + digits17()
	if c.id != "" && m.inputs.HasValue(c.id) {
		id = m.inputs[c.id].StringValue()
	}
	facts := factsOf(c, m, id, account, region)
	if c.id != "" && !m.inputs.HasValue(c.id) {
		id = facts[c.id].StringValue()
	}
	added := resource.PropertyMap{}
	for name, t := range outputsOf(c.resource) {
		if m.inputs.HasValue(name) {
			continue
		}
		if v, ok := facts[name]; ok {
			added[name] = v
		} else if v, ok := filler(name, t, account); ok {
			added[name] = v
		}
	}
	return resource.ID(id), added, nil
}

func accountOf(config resource.PropertyMap) string {
	allowed := plain(config["allowedAccountIds"])
	if allowed.IsString() { // lists in a provider's configuration are JSON
		return strings.Trim(allowed.StringValue(), `[]"`)
	}
	if allowed.IsArray() && len(allowed.ArrayValue()) > 0 {
		return allowed.ArrayValue()[0].StringValue()
	}
	return "123456789012"
}

// factsOf are outputs that others read: addresses, names, certificates.
func factsOf(c cloud, m made, id, account, region string) resource.PropertyMap {
	kind := m.kind.Name().String()
	kind = strings.ToLower(kind[:1]) + kind[1:]
	arn := fmt.Sprintf("arn:aws:%s:%s:%s:%s/%s", c.service, region, account, kind, id)
	switch c.service {
	case "iam":
		name := id
		if m.inputs.HasValue("name") {
			name = m.inputs["name"].StringValue()
		}
		arn = fmt.Sprintf("arn:aws:iam::%s:%s/%s", account, kind, name)
	case "s3":
		arn = "arn:aws:s3:::" + id
	case "logs":
		arn = fmt.Sprintf("arn:aws:logs:%s:%s:log-group:%s", region, account, id)
	}
	facts := resource.PropertyMap{
		"arn": resource.NewProperty(arn), "keyId": resource.NewProperty(id), "versionId": resource.NewProperty(id),
		"ownerId": resource.NewProperty(account), "registryId": resource.NewProperty(account), "region": resource.NewProperty(region),
		"allocationId": resource.NewProperty(id), "publicIp": resource.NewProperty("203.0.113.10"), "latestVersion": resource.NewProperty(1.0),
		"status": resource.NewProperty("ACTIVE"), "state": resource.NewProperty("available"),
		"repositoryUrl":            resource.NewProperty(fmt.Sprintf("%s.dkr.ecr.%s.amazonaws.com/%s", account, region, id)),
		"bucketDomainName":         resource.NewProperty(id + ".s3.amazonaws.com"),
		"bucketRegionalDomainName": resource.NewProperty(fmt.Sprintf("%s.s3.%s.amazonaws.com", id, region)),
		"tagsAll":                  resource.NewProperty(resource.PropertyMap{}),
	}
	if m.inputs.HasValue("tags") {
		facts["tagsAll"] = m.inputs["tags"]
	}
	if c.service == "eks" && kind == "cluster" {
		host := fmt.Sprintf("https://%s.gr7.%s.eks.amazonaws.com", strings.ToUpper(digits17()), region)
		authority := resource.NewProperty(resource.PropertyMap{
			"data": resource.NewProperty(base64.StdEncoding.EncodeToString([]byte("-----BEGIN CERTIFICATE-----\nmade up\n-----END CERTIFICATE-----\n"))),
		})
		facts["endpoint"], facts["certificateAuthority"] = resource.NewProperty(host), authority
		facts["certificateAuthorities"] = resource.NewProperty([]resource.PropertyValue{authority})
		issuer := resource.NewProperty(resource.PropertyMap{"issuer": resource.NewProperty(host + "/id")})
		facts["identities"] = resource.NewProperty([]resource.PropertyValue{
			resource.NewProperty(resource.PropertyMap{"oidcs": resource.NewProperty([]resource.PropertyValue{issuer})}),
		})
	}
	return facts
}

// filler is a value of the right kind for an output that nobody here reads.
func filler(name resource.PropertyKey, t reflect.Type, account string) (resource.PropertyValue, bool) {
	kind := t.Name()
	switch {
	case strings.HasSuffix(string(name), "At"), strings.HasSuffix(string(name), "Date"):
		return resource.NewProperty(time.Now().UTC().Format(time.RFC3339)), true
	case kind == "StringOutput", kind == "IDOutput":
		return resource.NewProperty(strings.ToLower(string(name)) + "-" + digits17()[:8]), true
	case kind == "BoolOutput":
		return resource.NewProperty(false), true
	case kind == "IntOutput", kind == "Float64Output":
		return resource.NewProperty(0.0), true
	case strings.HasSuffix(kind, "ArrayOutput"):
		return resource.NewProperty([]resource.PropertyValue{}), true
	}
	return resource.PropertyValue{}, false
}

// digits17 is what follows the dash in AWS's ids.
func digits17() string {
	b := make([]byte, 9)
	for i := range b {
		b[i] = byte(below64(256))
	}
	return hex.EncodeToString(b)[:17]
}
