package graph

import (
	"maps"
	"strings"
)

// bucketChecks ask about the backup bucket on AWS. Every setting of a bucket is a resource of its own there.
func bucketChecks() []Check {
	bucket := func(name, typ string, question func(*View, *Resource) string) Check {
		return Check{Name: "bucket/" + name, Run: func(v *View) []Finding {
			if String(v.Environ(), "bucket", "kind") != "aws" {
				return nil
			}
			var found findings
			resources := v.Find(Type(typ))
			if len(resources) != 1 {
				found.on(typ, "there are %d, want one", len(resources))
			}
			for _, r := range resources {
				if message := question(v, r); message != "" {
					found.say(r, "%s", message)
				}
			}
			return found
		}}
	}
	return []Check{
		bucket("name", "aws:s3/bucketV2:BucketV2", func(v *View, r *Resource) string {
			return unless(String(r.Inputs, "bucket") == String(v.Environ(), "bucket", "name"), "it is not the bucket of the output")
		}),
		bucket("encryption", "aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2", func(_ *View, r *Resource) string {
			by := At(r.Inputs, "rules", 0, "applyServerSideEncryptionByDefault")
			return unless(String(by, "sseAlgorithm") == "aws:kms" && strings.HasPrefix(String(by, "kmsMasterKeyId"), "arn:aws:kms:"), "it is not encrypted by a key of ours")
		}),
		bucket("public-access", "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", func(_ *View, r *Resource) string {
			for _, key := range []string{"blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"} {
				if r.Inputs[key] != true {
					return key + " is not set"
				}
			}
			return ""
		}),
		bucket("ownership", "aws:s3/bucketOwnershipControls:BucketOwnershipControls", func(_ *View, r *Resource) string {
			return unless(String(r.Inputs, "rule", "objectOwnership") == "BucketOwnerEnforced", "access lists of objects count")
		}),
		bucket("versions", "aws:s3/bucketVersioningV2:BucketVersioningV2", func(_ *View, r *Resource) string {
			return unless(String(r.Inputs, "versioningConfiguration", "status") == "Enabled", "what is deleted or overwritten is gone")
		}),
		bucket("lifecycle", "aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2", lifecycleFits),
		{Name: "bucket/lock", Run: func(v *View) []Finding {
			var found findings
			locks := v.Find(Type("aws:s3/bucketObjectLockConfigurationV2:BucketObjectLockConfigurationV2"))
			for _, r := range v.Find(Type("aws:s3/bucketV2:BucketV2")) {
				if _, said := r.Inputs["objectLockEnabled"]; said {
					found.say(r, "another setting of the lock would be another bucket")
				}
			}
			for _, r := range locks {
				if Number(r.Inputs, "rule", "defaultRetention", "days") < 1 {
					found.say(r, "it locks nothing")
				}
			}
			return found
		}},
	}
}

// lifecycleFits wants a lifecycle that never fights the retention: it removes no current object, moves none to where a restore would have
// to wait for it, and keeps what was deleted for a while, at least as long as objects are locked.
func lifecycleFits(v *View, r *Resource) string {
	rules := List(r.Inputs, "rules")
	grace, uploads := -1.0, -1.0
	for _, rule := range rules {
		if String(rule, "status") != "Enabled" {
			return "a rule is off"
		}
		if Number(rule, "expiration", "days") > 0 || String(rule, "expiration", "date") != "" {
			return "it removes current objects: which backups stay is the retention's to say"
		}
		if len(List(rule, "transitions"))+len(List(rule, "noncurrentVersionTransitions")) > 0 {
			return "it moves objects to where a restore waits for them"
		}
		grace = max(grace, Number(rule, "noncurrentVersionExpiration", "noncurrentDays"))
		uploads = max(uploads, Number(rule, "abortIncompleteMultipartUpload", "daysAfterInitiation"))
	}
	if uploads < 2 {
		return "unfinished uploads stay for ever, or running ones are cut off"
	}
	locked := 0.0
	for _, l := range v.Find(Type("aws:s3/bucketObjectLockConfigurationV2:*")) {
		locked = Number(l.Inputs, "rule", "defaultRetention", "days")
	}
	return unless(grace >= 7 && grace >= locked, "a backup that was deleted by mistake is gone after %v days", grace)
}

// bucketRights asks IAM, as the policies of the graph make it, who may do what with the bucket.
func bucketRights(v *View) []Finding {
	var found findings
	if String(v.Environ(), "bucket", "kind") != "aws" {
		return nil
	}
	name := String(v.Environ(), "bucket", "name")
	arn := "arn:aws:s3:::" + name
	var ofBucket []Document
	for _, r := range v.Find(Type("aws:s3/bucketPolicy:BucketPolicy")) {
		d, err := ReadDocument(r.Inputs["policy"])
		if err != nil {
			found.say(r, "%v", err)
		}
		ofBucket = append(ofBucket, d)
	}
	for _, c := range v.rightsTable() {
		account := accountOf(c.role)
		identity, err := v.documentsOf(c.role)
		if err != nil {
			found.on(c.role, "%v", err)
			continue
		}
		resource := arn
		if c.object != "" {
			resource += "/" + c.object
		}
		context := map[string]string{"aws:SecureTransport": "true", "s3:TlsVersion": "1.3", "kms:CallerAccount": account}
		maps.Copy(context, c.context)
		got, err := Decide(Request{c.role, c.action, resource, context}, identity, ofBucket)
		if err != nil || got != c.allowed {
			found.on(c.role[strings.LastIndex(c.role, "/")+1:], "%s of %s%s: allowed is %v (%v), want %v", c.action, resource, c.note, got, err, c.allowed)
		}
	}
	return found
}

type right struct {
	role, action, object string
	context              map[string]string
	note                 string
	allowed              bool
}

// rightsTable is who may do what, in full.
func (v *View) rightsTable() []right {
	var writer, pruner, reader string
	for _, r := range v.Find(Type("aws:eks/podIdentityAssociation:PodIdentityAssociation")) {
		switch String(r.Inputs, "serviceAccount") {
		case "backup":
			writer = String(r.Inputs, "roleArn")
		case "prune":
			pruner = String(r.Inputs, "roleArn")
		case "restore":
			reader = String(r.Inputs, "roleArn")
		}
	}
	someone := "arn:aws:iam::" + accountOf(writer) + ":role/administrator"
	untrusted, old := map[string]string{"aws:SecureTransport": "false"}, map[string]string{"s3:TlsVersion": "1.1"}
	foreign := map[string]string{"s3:x-amz-server-side-encryption": "aws:kms", "s3:x-amz-server-side-encryption-aws-kms-key-id": "arn:aws:kms:eu-central-1:999999999999:key/foreign"}
	callers := map[string]string{"s3:x-amz-server-side-encryption-customer-algorithm": "AES256"}
	plain := map[string]string{"s3:x-amz-server-side-encryption": "AES256"}
	var table []right
	add := func(role, action, object string, allowed bool) {
		table = append(table, right{role: role, action: action, object: object, allowed: allowed})
	}
	for _, role := range []string{writer, pruner, reader} {
		add(role, "s3:ListBucket", "", true)
		add(role, "s3:GetObject", "base/1/commit.json", true)
		for _, object := range []string{"base/1/commit.json", "wal/1/2", "ledger/7.json", "lease", "keys/1/epoch.json", "releases/v1/manifest.json"} {
			for _, action := range []string{"s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"} {
				add(role, action, object, false)
			}
			backup := strings.HasPrefix(object, "base/") || strings.HasPrefix(object, "wal/")
			add(role, "s3:DeleteObject", object, role == pruner && backup)
			add(role, "s3:PutObject", object, role == writer && backup || role == pruner && object == "lease")
		}
		for _, action := range []string{"s3:DeleteBucket", "s3:PutBucketVersioning", "s3:PutLifecycleConfiguration", "s3:PutBucketObjectLockConfiguration", "s3:PutBucketPolicy"} {
			add(role, action, "", false)
		}
		table = append(table,
			right{role, "s3:GetObject", "base/1/commit.json", untrusted, " without TLS", false},
			right{role, "s3:GetObject", "base/1/commit.json", old, " with TLS 1.1", false})
	}
	table = append(table,
		right{writer, "s3:PutObject", "base/1/part", foreign, " under a foreign key", false},
		right{writer, "s3:PutObject", "base/1/part", callers, " under a key of the caller's", false},
		right{writer, "s3:PutObject", "base/1/part", plain, " without KMS", false})
	// Not even an administrator of the account deletes by mistake.
	for _, object := range []string{"base/1/commit.json", "ledger/7.json", "keys/1/epoch.json"} {
		add(someone, "s3:DeleteObject", object, false)
		add(someone, "s3:DeleteObjectVersion", object, false)
	}
	return table
}

// documentsOf are the policies of a role: its own, and what is attached. The role of an administrator, who is none of the graph's, may do
// everything.
func (v *View) documentsOf(arn string) ([]Document, error) {
	name := arn[strings.LastIndex(arn, "/")+1:]
	if name == "administrator" {
		d, err := ReadDocument(`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)
		return []Document{d}, err
	}
	var documents []Document
	for _, r := range v.Find(Type("aws:iam/rolePolicy:RolePolicy")) {
		if String(r.Inputs, "role") != name {
			continue
		}
		d, err := ReadDocument(r.Inputs["policy"])
		if err != nil {
			return nil, err
		}
		documents = append(documents, d)
	}
	return documents, nil
}

// leastPrivilege wants no policy of ours to allow everything, and no role to be taken by anybody.
func leastPrivilege(v *View) []Finding {
	var found findings
	for _, r := range v.Resources {
		switch r.Type {
		case "aws:iam/rolePolicy:RolePolicy", "aws:iam/policy:Policy":
			d, err := ReadDocument(r.Inputs["policy"])
			if err != nil {
				found.say(r, "%v", err)
			}
			for _, s := range d.Statement {
				if s.Effect == "Allow" && tooMuch(s) {
					found.say(r, "statement %s allows more than it names", s.Sid)
				}
			}
		case "aws:iam/role:Role":
			d, err := ReadDocument(r.Inputs["assumeRolePolicy"])
			if err != nil {
				found.say(r, "%v", err)
			}
			for _, s := range d.Statement {
				if s.Effect == "Allow" && trustsTooMuch(s) {
					found.say(r, "statement %s lets others than one service take it", s.Sid)
				}
			}
		case "aws:iam/rolePolicyAttachment:RolePolicyAttachment":
			if arn := String(r.Inputs, "policyArn"); strings.HasSuffix(arn, "/AdministratorAccess") || strings.HasSuffix(arn, "FullAccess") {
				found.say(r, "%s gives everything", arn)
			}
		}
	}
	return found
}

// tooMuch finds wildcards of whole services, and of all resources unless the action knows no other.
func tooMuch(s Statement) bool {
	if s.NotAction != nil {
		return true
	}
	for _, action := range s.Action {
		if strings.HasSuffix(action, "*") {
			return true
		}
		for _, resource := range s.Resource {
			if resource == "*" && action != "ecr:GetAuthorizationToken" {
				return true
			}
		}
	}
	return false
}

func trustsTooMuch(s Statement) bool {
	if len(s.Principal.AWS) > 0 || len(s.Principal.Service) != 1 {
		return true
	}
	// A role for pods is for the pods of one ServiceAccount.
	return s.Principal.Service[0] == "pods.eks.amazonaws.com" && len(s.Condition["StringEquals"]["aws:RequestTag/kubernetes-service-account"]) != 1
}
