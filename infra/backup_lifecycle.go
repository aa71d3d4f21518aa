package infra

import (
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/s3"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// lifecycleRule is what S3 removes by itself, everywhere in the bucket. It has no field for the age of a current object or for moving one to
// another class of storage: which backups stay is for the retention policy alone to say (assistctl prune), and a restore must not wait for a thaw.
type lifecycleRule struct {
	id              string
	abortUploadDays int  // unfinished uploads
	olderDays       int  // versions that were deleted or overwritten
	emptyMarkers    bool // of deletions of which every version is gone
}

// unfinishedUploadDays is longer than any upload takes that is still alive.
const unfinishedUploadDays = 7

// lifecycle returns the bucket's rules. What pruning deletes stays as an older version for graceDays. A lock that outlasts them would leave
// versions that the rule says are gone.
func lifecycle(graceDays, lockDays int) ([]lifecycleRule, error) {
	if graceDays < 1 {
		return nil, fmt.Errorf("older versions must stay for a day at least; asked for %d", graceDays)
	}
	if lockDays > graceDays {
		return nil, fmt.Errorf("objects are locked for %d days, longer than older versions stay (%d)", lockDays, graceDays)
	}
	return []lifecycleRule{
		{id: "abort-unfinished-uploads", abortUploadDays: unfinishedUploadDays},
		{id: "expire-older-versions", olderDays: graceDays, emptyMarkers: true},
	}, nil
}

func lifecycleInputs(rules []lifecycleRule) s3.BucketLifecycleConfigurationV2RuleArray {
	var inputs s3.BucketLifecycleConfigurationV2RuleArray
	for _, r := range rules {
		input := &s3.BucketLifecycleConfigurationV2RuleArgs{
			Id: pulumi.String(r.id), Status: pulumi.String("Enabled"),
			Filter: &s3.BucketLifecycleConfigurationV2RuleFilterArgs{Prefix: pulumi.String("")},
		}
		if r.abortUploadDays > 0 {
			input.AbortIncompleteMultipartUpload = &s3.BucketLifecycleConfigurationV2RuleAbortIncompleteMultipartUploadArgs{
				DaysAfterInitiation: pulumi.Int(r.abortUploadDays),
			}
		}
		if r.olderDays > 0 {
			input.NoncurrentVersionExpiration = &s3.BucketLifecycleConfigurationV2RuleNoncurrentVersionExpirationArgs{NoncurrentDays: pulumi.Int(r.olderDays)}
		}
		if r.emptyMarkers {
			input.Expiration = &s3.BucketLifecycleConfigurationV2RuleExpirationArgs{ExpiredObjectDeleteMarker: pulumi.Bool(true)}
		}
		inputs = append(inputs, input)
	}
	return inputs
}
