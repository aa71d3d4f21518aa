package infra

import (
	"strings"
	"testing"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/s3"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// TestLifecycleLeavesCurrentObjects: which backups stay is for the retention policy alone to say. A rule that expired or moved a current object
// would remove backups that assistctl means to keep.
func TestLifecycleLeavesCurrentObjects(t *testing.T) {
	rules, err := lifecycle(30, 14)
	if err != nil {
		t.Fatal(err)
	}
	var older, uploads bool
	for _, input := range lifecycleInputs(rules) {
		rule, ok := input.(*s3.BucketLifecycleConfigurationV2RuleArgs)
		if !ok {
			t.Fatalf("a rule is a %T", input)
		}
		if rule.Transitions != nil || rule.NoncurrentVersionTransitions != nil {
			t.Errorf("rule %v moves objects to another class of storage", rule.Id)
		}
		if rule.Status != pulumi.String("Enabled") {
			t.Errorf("rule %v is not enabled", rule.Id)
		}
		if e, given := rule.Expiration.(*s3.BucketLifecycleConfigurationV2RuleExpirationArgs); given && (e.Days != nil || e.Date != nil) {
			t.Errorf("rule %v expires current objects", rule.Id)
		}
		if e, given := rule.NoncurrentVersionExpiration.(*s3.BucketLifecycleConfigurationV2RuleNoncurrentVersionExpirationArgs); given {
			older = e.NoncurrentDays == pulumi.Int(30)
		}
		uploads = uploads || rule.AbortIncompleteMultipartUpload != nil
	}
	if !older || !uploads {
		t.Errorf("older versions expire after 30 days: %v; unfinished uploads are aborted: %v", older, uploads)
	}
}

func TestLifecycleRefuses(t *testing.T) {
	for _, test := range []struct {
		grace, lock int
		want        string
	}{{0, 0, "for a day at least"}, {7, 8, "locked for 8 days, longer than older versions stay (7)"}} {
		if _, err := lifecycle(test.grace, test.lock); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("grace %d, lock %d: %v; want an error with %q", test.grace, test.lock, err, test.want)
		}
	}
	if _, err := lifecycle(7, 7); err != nil {
		t.Error(err)
	}
}
