package infra

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// policy is an IAM policy document: of a role, a bucket, a key. It is a value, so that tests can read it and no string is pasted into JSON.
type policy struct {
	Version   string      `json:"Version"`
	Statement []statement `json:"Statement"`
}

type statement struct {
	Sid       string     `json:"Sid"`
	Effect    string     `json:"Effect"`
	Principal *principal `json:"Principal,omitempty"`
	Action    []string   `json:"Action"`
	Resource  []string   `json:"Resource,omitempty"`
	Condition condition  `json:"Condition,omitempty"`
}

type principal struct {
	AWS     []string `json:"AWS,omitempty"`
	Service []string `json:"Service,omitempty"`
}

// condition holds, for each operator, the keys and the values that it compares them with. All of them must hold.
type condition map[string]map[string][]string

const (
	allow = "Allow"
	deny  = "Deny"
)

func newPolicy(statements ...statement) policy {
	return policy{Version: "2012-10-17", Statement: statements}
}

func (p policy) json() (string, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("write an IAM policy: %w", err)
	}
	return string(text), nil
}

// policyOf writes the document that build makes of values which are known only once their resources exist.
func policyOf(build func(values []string) policy, values ...pulumi.StringInput) pulumi.StringOutput {
	inputs := make(pulumi.StringArray, len(values))
	copy(inputs, values)
	return inputs.ToStringArrayOutput().ApplyT(func(known []string) (string, error) {
		return build(known).json()
	}).(pulumi.StringOutput)
}

// partition is the part of AWS that a region belongs to; every ARN begins with it.
func partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	default:
		return "aws"
	}
}

// dnsSuffix is the domain of the region's services.
func dnsSuffix(region string) string {
	if partition(region) == "aws-cn" {
		return "amazonaws.com.cn"
	}
	return "amazonaws.com"
}

func managedPolicy(region, name string) string {
	return "arn:" + partition(region) + ":iam::aws:policy/" + name
}

func roleARN(region, account, name string) string {
	return "arn:" + partition(region) + ":iam::" + account + ":role/" + name
}
