package infra

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	testAccount = "111122223333"
	testRegion  = "eu-central-1"
	testBucket  = "arn:aws:s3:::assistant-prod"
	testKey     = "arn:aws:kms:eu-central-1:111122223333:key/backups"
	testCluster = "arn:aws:eks:eu-central-1:111122223333:cluster/assistant-prod"
	testPruner  = "arn:aws:iam::111122223333:role/assistant-prod-prune"
	testWriter  = "arn:aws:iam::111122223333:role/assistant-prod-backup"
	testReader  = "arn:aws:iam::111122223333:role/assistant-prod-restore"
)

func TestPolicyDocuments(t *testing.T) {
	for name, document := range map[string]policy{
		"service-trust":     serviceTrust("vpc-flow-logs.amazonaws.com", testAccount),
		"pod-trust":         podTrust(testCluster, "assistant-prod", "backup"),
		"backup-writer":     writerPolicy(testBucket, testKey, testRegion),
		"restore-reader":    readerPolicy(testBucket, testKey, testRegion),
		"pruner":            prunerPolicy(testBucket, testKey, testRegion),
		"operator":          operatorPolicy(testBucket, testKey, testCluster, repositories(testRegion, testAccount, "assistant-prod"), testRegion),
		"bucket":            bucketPolicy(testBucket, testKey, []string{testPruner}),
		"bucket-no-pruner":  bucketPolicy(testBucket, testKey, nil),
		"key":               keyPolicy(testRegion, testAccount),
		"key-volumes":       keyPolicy(testRegion, testAccount, volumesUseKey(testRegion, testAccount)),
		"key-logs":          keyPolicy(testRegion, testAccount, logsUseKey(testRegion, testAccount)),
		"control-plane-key": clusterUsesKey(testKey),
		"flow-logs":         flowLogsWrite(testRegion, testAccount, "arn:aws:logs:eu-central-1:111122223333:log-group:/assistant-prod/flow-logs"),
	} {
		t.Run(name, func(t *testing.T) {
			text, err := document.json()
			if err != nil {
				t.Fatal(err)
			}
			var indented bytes.Buffer
			if err := json.Indent(&indented, []byte(text), "", "  "); err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", "iam", name+".json"), indented.String()+"\n")
		})
	}
}

// golden compares a text with a file, or writes the file with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got\n%s\nwant\n%s", file, got, want)
	}
}

// TestWhoMayDoWhat asks the policies as AWS does: denied when any says so, allowed when any other does.
func TestWhoMayDoWhat(t *testing.T) {
	secure := map[string]string{"aws:SecureTransport": "true", "s3:TlsVersion": "1.3"}
	with := func(more ...string) map[string]string {
		context := map[string]string{}
		maps.Copy(context, secure)
		for i := 0; i < len(more); i += 2 {
			context[more[i]] = more[i+1]
		}
		return context
	}
	writer, pruner := writerPolicy(testBucket, testKey, testRegion), prunerPolicy(testBucket, testKey, testRegion)
	reader := readerPolicy(testBucket, testKey, testRegion)
	operator := operatorPolicy(testBucket, testKey, testCluster, "arn:aws:ecr:*", testRegion)
	admin := newPolicy(statement{Sid: "All", Effect: allow, Action: []string{"*"}, Resource: []string{"*"}})
	as := func(arn string, more ...string) map[string]string {
		return with(append(more, "aws:PrincipalArn", arn)...)
	}
	viaS3 := with("kms:ViaService", "s3.eu-central-1.amazonaws.com")
	person := "arn:aws:iam::111122223333:role/someone"
	for _, test := range []struct {
		who     string
		policy  policy
		action  string
		object  string
		context map[string]string
		may     bool
	}{
		{"writer", writer, "s3:PutObject", "base/s-1/base.tar.zst.age.0", as(testWriter), true},
		{"writer", writer, "s3:GetObject", "keys/1/epoch.json", as(testWriter), true},
		{"writer", writer, "s3:AbortMultipartUpload", "base/s-1/x", as(testWriter), true},
		{"writer", writer, "s3:PutObject", "ledger/00000001.json", as(testWriter), false},
		{"writer", writer, "s3:PutObject", "keys/1/identity.age", as(testWriter), false},
		{"writer", writer, "s3:DeleteObject", "base/s-1/commit.json", as(testWriter), false},
		{"writer", writer, "s3:DeleteObjectVersion", "base/s-1/commit.json", as(testWriter), false},
		{"writer", writer, "s3:BypassGovernanceRetention", "base/s-1/commit.json", as(testWriter), false},
		{"writer", writer, "s3:PutObject", "base/s-1/x", as(testWriter, "aws:SecureTransport", "false"), false},
		{"writer", writer, "s3:PutObject", "base/s-1/x", as(testWriter, "s3:TlsVersion", "1.1"), false},
		{"writer", writer, "s3:PutObject", "base/s-1/x", as(testWriter, "s3:x-amz-server-side-encryption", "AES256"), false},
		{"writer", writer, "s3:PutObject", "base/s-1/x", as(testWriter, "s3:x-amz-server-side-encryption", "aws:kms"), true},
		{"writer", writer, "s3:PutObject", "base/s-1/x", as(testWriter, "s3:x-amz-server-side-encryption-aws-kms-key-id", "arn:aws:kms:eu-central-1:1:key/other"), false},
		{"writer", writer, "s3:PutObject", "base/s-1/x", as(testWriter, "s3:x-amz-server-side-encryption-customer-algorithm", "AES256"), false},
		{"pruner", pruner, "s3:DeleteObject", "base/s-1/commit.json", as(testPruner), true},
		{"pruner", pruner, "s3:PutObject", "lease", as(testPruner), true},
		{"pruner", pruner, "s3:DeleteObject", "ledger/00000001.json", as(testPruner), false},
		{"pruner", pruner, "s3:DeleteObject", "keys/1/identity.age", as(testPruner), false},
		{"pruner", pruner, "s3:DeleteObjectVersion", "base/s-1/commit.json", as(testPruner), false},
		{"pruner", pruner, "s3:PutObject", "base/s-1/commit.json", as(testPruner), false},
		{"pruner by another name", pruner, "s3:DeleteObject", "base/s-1/commit.json", as(person), false},
		{"reader", reader, "s3:GetObject", "base/s-1/base.tar.zst.age.0", as(testReader), true},
		{"reader", reader, "s3:PutObject", "base/s-1/x", as(testReader), false},
		{"reader", reader, "s3:DeleteObject", "base/s-1/commit.json", as(testReader), false},
		{"operator", operator, "s3:PutObject", "ledger/00000002.json", as(person), true},
		{"operator", operator, "s3:DeleteObject", "probe/1", as(person), true},
		{"operator", operator, "s3:DeleteObject", "base/s-1/commit.json", as(person), false},
		{"operator", operator, "s3:DeleteObjectVersion", "probe/1", as(person), false},
		{"an administrator", admin, "s3:DeleteObject", "base/s-1/commit.json", as(person), false},
		{"an administrator", admin, "s3:DeleteObject", "ledger/00000001.json", as(person), false},
		{"an administrator", admin, "s3:DeleteObjectVersion", "base/s-1/commit.json", as(person), false},
		{"an administrator", admin, "s3:GetObject", "base/s-1/commit.json", as(person), true},
	} {
		resource := testBucket + "/" + test.object
		allowed, denied := decide(test.policy, test.action, resource, test.context)
		_, deniedByBucket := decide(bucketPolicy(testBucket, testKey, []string{testPruner}), test.action, resource, test.context)
		if may := allowed && !denied && !deniedByBucket; may != test.may {
			t.Errorf("%s may %s %s: %v; want %v", test.who, test.action, test.object, may, test.may)
		}
	}
	group := "arn:aws:logs:eu-central-1:111122223333:log-group:/assistant-prod/flow-logs"
	flowLogs := flowLogsWrite(testRegion, testAccount, group)
	for action, resource := range map[string]string{
		// What IAM asks about a list of all groups: it names none.
		"logs:DescribeLogGroups":  "arn:aws:logs:eu-central-1:111122223333:log-group::log-stream:",
		"logs:DescribeLogStreams": group, "logs:CreateLogStream": group, "logs:PutLogEvents": group + ":log-stream:eni-1",
	} {
		if allowed, _ := decide(flowLogs, action, resource, nil); !allowed {
			t.Errorf("flow logs may not %s %s", action, resource)
		}
	}
	if allowed, _ := decide(writer, "kms:GenerateDataKey", testKey, viaS3); !allowed {
		t.Error("the writer may not encrypt")
	}
	if allowed, _ := decide(reader, "kms:Decrypt", testKey, viaS3); !allowed {
		t.Error("the restore may not decrypt")
	}
	if allowed, _ := decide(reader, "kms:GenerateDataKey", testKey, viaS3); allowed {
		t.Error("the restore may encrypt")
	}
	if allowed, _ := decide(writer, "kms:Decrypt", testKey, secure); allowed {
		t.Error("the writer may use the key outside of S3")
	}
}

// decide says what a policy says of a request: the part of IAM's logic that our documents use.
func decide(p policy, action, resource string, context map[string]string) (allowed, denied bool) {
	matches := func(patterns []string, name string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool {
			ok, err := path.Match(strings.ReplaceAll(pattern, "/", "\x00"), strings.ReplaceAll(name, "/", "\x00"))
			return ok && err == nil
		})
	}
	for _, s := range p.Statement {
		if !matches(s.Action, action) || !matches(s.Resource, resource) || !holds(s.Condition, context) {
			continue
		}
		allowed, denied = allowed || s.Effect == allow, denied || s.Effect == deny
	}
	return allowed, denied
}

func holds(c condition, context map[string]string) bool {
	for operator, keys := range c {
		for key, values := range keys {
			got, given := context[key]
			equal := slices.Contains(values, got)
			var ok bool
			switch operator {
			case "StringEquals", "Bool":
				ok = given && equal
			case "StringNotEquals", "ArnNotEquals":
				ok = !given || !equal // a negation holds for what is not there
			case "Null":
				ok = strconv.FormatBool(!given) == values[0]
			case "NumericLessThan":
				a, errA := strconv.ParseFloat(got, 64)
				b, errB := strconv.ParseFloat(values[0], 64)
				ok = given && errA == nil && errB == nil && a < b
			default:
				panic("the test does not know the operator " + operator)
			}
			if !ok {
				return false
			}
		}
	}
	return true
}
