package infra

// The policy documents of an environment. Each is a function of plain values; testdata/iam shows what comes out.

// serviceTrust lets a service of AWS take a role, for resources of this account only.
func serviceTrust(service, account string) policy {
	s := statement{
		Sid: "Service", Effect: allow, Principal: &principal{Service: []string{service}},
		Action: []string{"sts:AssumeRole"},
	}
	if account != "" {
		s.Condition = condition{"StringEquals": {"aws:SourceAccount": {account}}}
	}
	return newPolicy(s)
}

// podTrust lets the pods of one ServiceAccount in one cluster take a role, by EKS Pod Identity.
func podTrust(clusterARN, namespace, serviceAccount string) policy {
	return newPolicy(statement{
		Sid: "PodIdentity", Effect: allow, Principal: &principal{Service: []string{"pods.eks.amazonaws.com"}},
		Action: []string{"sts:AssumeRole", "sts:TagSession"},
		Condition: condition{"StringEquals": {
			"aws:RequestTag/eks-cluster-arn":            {clusterARN},
			"aws:RequestTag/kubernetes-namespace":       {namespace},
			"aws:RequestTag/kubernetes-service-account": {serviceAccount},
		}},
	})
}

// The folders of an environment's bucket, as ARCHITECTURE.md lists them.
var (
	backupFolders = []string{"base/*", "wal/*"}
	leaseObject   = []string{"lease"}
)

func objects(bucketARN string, keys ...string) []string {
	arns := make([]string, len(keys))
	for i, key := range keys {
		arns[i] = bucketARN + "/" + key
	}
	return arns
}

// writerPolicy is the backup pod's: it adds backups and reads what it needs for that. It can delete nothing, and what it
// overwrites stays as an older version.
func writerPolicy(bucketARN, keyARN, region string) policy {
	return newPolicy(
		listBucket(bucketARN),
		readObjects(bucketARN),
		statement{
			Sid: "AddBackups", Effect: allow,
			Action:   []string{"s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"},
			Resource: objects(bucketARN, backupFolders...),
		},
		useKey(keyARN, region),
		neverErase("NeverDelete", bucketARN, "s3:DeleteObject"),
	)
}

// prunerPolicy is the prune pod's, the only one that deletes: backups, and nothing else. In a versioned bucket that hides an object;
// the versions themselves go by the lifecycle, after the grace period. It holds the lease meanwhile.
func prunerPolicy(bucketARN, keyARN, region string) policy {
	return newPolicy(
		listBucket(bucketARN),
		readObjects(bucketARN),
		statement{Sid: "HoldTheLease", Effect: allow, Action: []string{"s3:PutObject"}, Resource: objects(bucketARN, leaseObject...)},
		statement{Sid: "PruneBackups", Effect: allow, Action: []string{"s3:DeleteObject"}, Resource: objects(bucketARN, backupFolders...)},
		useKey(keyARN, region),
		neverErase("NeverDestroy", bucketARN),
	)
}

// readerPolicy is the restore pod's: it reads backups and changes nothing.
func readerPolicy(bucketARN, keyARN, region string) policy {
	key := useKey(keyARN, region)
	key.Action = []string{"kms:Decrypt"}
	return newPolicy(listBucket(bucketARN), readObjects(bucketARN), key)
}

// operatorPolicy is for the people who run assistctl, attached to their role by whoever governs the account: all of the bucket but
// deletion, the images, and the way into the cluster.
func operatorPolicy(bucketARN, keyARN, clusterARN, repositories, region string) policy {
	return newPolicy(
		listBucket(bucketARN),
		readObjects(bucketARN),
		statement{
			Sid: "Write", Effect: allow,
			Action:   []string{"s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"},
			Resource: objects(bucketARN, "*"),
		},
		// assistctl doctor asks the store whether it honours conditions, and clears up after itself.
		statement{Sid: "Probe", Effect: allow, Action: []string{"s3:DeleteObject"}, Resource: objects(bucketARN, "probe/*")},
		useKey(keyARN, region),
		statement{Sid: "FindTheCluster", Effect: allow, Action: []string{"eks:DescribeCluster"}, Resource: []string{clusterARN}},
		statement{Sid: "RegistryLogin", Effect: allow, Action: []string{"ecr:GetAuthorizationToken"}, Resource: []string{"*"}},
		statement{
			Sid: "Images", Effect: allow,
			Action: []string{
				"ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload", "ecr:DescribeImages",
				"ecr:GetDownloadUrlForLayer", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart",
			},
			Resource: []string{repositories},
		},
		neverErase("NeverDestroy", bucketARN),
	)
}

func listBucket(bucketARN string) statement {
	return statement{
		Sid: "List", Effect: allow,
		Action:   []string{"s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"},
		Resource: []string{bucketARN},
	}
}

func readObjects(bucketARN string) statement {
	return statement{Sid: "Read", Effect: allow, Action: []string{"s3:GetObject"}, Resource: objects(bucketARN, "*")}
}

// useKey is what S3 does with the bucket's key on behalf of the caller; the key is of no use to the caller directly.
func useKey(keyARN, region string) statement {
	return statement{
		Sid: "Key", Effect: allow, Action: []string{"kms:Decrypt", "kms:GenerateDataKey"}, Resource: []string{keyARN},
		Condition: condition{"StringEquals": {"kms:ViaService": {"s3." + region + "." + dnsSuffix(region)}}},
	}
}

// neverErase denies what destroys data for good, whatever another policy may grant.
func neverErase(sid, bucketARN string, more ...string) statement {
	return statement{
		Sid: sid, Effect: deny,
		Action: append(more, "s3:BypassGovernanceRetention", "s3:DeleteBucket", "s3:DeleteObjectVersion",
			"s3:PutBucketObjectLockConfiguration", "s3:PutBucketVersioning", "s3:PutLifecycleConfiguration"),
		Resource: append([]string{bucketARN}, objects(bucketARN, "*")...),
	}
}

// bucketPolicy is the bucket's own: TLS 1.2 only, this key only, and deletion by the pruners only, whatever a role is granted.
// Nobody removes a version; the lifecycle, which is no principal, does.
func bucketPolicy(bucketARN, keyARN string, pruners []string) policy {
	everything := append([]string{bucketARN}, objects(bucketARN, "*")...)
	all := objects(bucketARN, "*")
	anyone := &principal{AWS: []string{"*"}}
	return newPolicy(
		statement{
			Sid: "TLSOnly", Effect: deny, Principal: anyone, Action: []string{"s3:*"}, Resource: everything,
			Condition: condition{"Bool": {"aws:SecureTransport": {"false"}}},
		},
		statement{
			Sid: "TLS12OrLater", Effect: deny, Principal: anyone, Action: []string{"s3:*"}, Resource: everything,
			Condition: condition{"NumericLessThan": {"s3:TlsVersion": {"1.2"}}},
		},
		// A request that asks for nothing gets the bucket's default, which is this key.
		statement{
			Sid: "KMSOnly", Effect: deny, Principal: anyone, Action: []string{"s3:PutObject"}, Resource: all,
			Condition: condition{
				"Null":            {"s3:x-amz-server-side-encryption": {"false"}},
				"StringNotEquals": {"s3:x-amz-server-side-encryption": {"aws:kms"}},
			},
		},
		statement{
			Sid: "ThisKeyOnly", Effect: deny, Principal: anyone, Action: []string{"s3:PutObject"}, Resource: all,
			Condition: condition{
				"Null":            {"s3:x-amz-server-side-encryption-aws-kms-key-id": {"false"}},
				"StringNotEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": {keyARN}},
			},
		},
		statement{
			Sid: "NoKeysOfCallers", Effect: deny, Principal: anyone, Action: []string{"s3:PutObject"}, Resource: all,
			Condition: condition{"Null": {"s3:x-amz-server-side-encryption-customer-algorithm": {"false"}}},
		},
		deleteByPruners(bucketARN, anyone, pruners),
		statement{
			Sid: "VersionsStay", Effect: deny, Principal: anyone,
			Action: []string{"s3:BypassGovernanceRetention", "s3:DeleteObjectVersion"}, Resource: all,
		},
	)
}

func deleteByPruners(bucketARN string, anyone *principal, pruners []string) statement {
	s := statement{
		Sid: "OnlyPrunersDelete", Effect: deny, Principal: anyone, Action: []string{"s3:DeleteObject"},
		Resource: objects(bucketARN, "base/*", "keys/*", "ledger/*", "lease", "releases/*", "wal/*"),
	}
	if len(pruners) > 0 {
		s.Condition = condition{"ArnNotEquals": {"aws:PrincipalArn": pruners}}
	}
	return s
}

// keyPolicy gives the account's IAM policies their say over a key, and more statements theirs.
func keyPolicy(region, account string, more ...statement) policy {
	return newPolicy(append([]statement{{
		Sid: "Account", Effect: allow, Principal: &principal{AWS: []string{"arn:" + partition(region) + ":iam::" + account + ":root"}},
		Action: []string{"kms:*"}, Resource: []string{"*"},
	}}, more...)...)
}

// volumesUseKey lets EBS use the key for whoever in the account may make volumes, as it does with its own key: nodes, their
// Auto Scaling group, and the CSI driver.
func volumesUseKey(region, account string) statement {
	return statement{
		Sid: "Volumes", Effect: allow, Principal: &principal{AWS: []string{"*"}},
		Action: []string{
			"kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKeyWithoutPlaintext",
			"kms:ReEncryptFrom", "kms:ReEncryptTo",
		},
		Resource: []string{"*"},
		Condition: condition{"StringEquals": {
			"kms:CallerAccount": {account},
			"kms:ViaService":    {"ec2." + region + "." + dnsSuffix(region)},
		}},
	}
}

// logsUseKey lets CloudWatch Logs use the key for log groups of this account.
func logsUseKey(region, account string) statement {
	return statement{
		Sid: "Logs", Effect: allow, Principal: &principal{Service: []string{"logs." + region + "." + dnsSuffix(region)}},
		Action:   []string{"kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo"},
		Resource: []string{"*"},
		Condition: condition{"ArnLike": {
			"kms:EncryptionContext:aws:logs:arn": {"arn:" + partition(region) + ":logs:" + region + ":" + account + ":log-group:*"},
		}},
	}
}

// clusterUsesKey is what the control plane does to encrypt Secrets.
func clusterUsesKey(keyARN string) policy {
	return newPolicy(statement{
		Sid: "EncryptSecrets", Effect: allow,
		Action:   []string{"kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:ListGrants"},
		Resource: []string{keyARN},
	})
}

// flowLogsWrite lets the VPC's flow logs into their group. They look for it among the account's groups: IAM knows no right to list a single one.
func flowLogsWrite(region, account, groupARN string) policy {
	return newPolicy(
		statement{
			Sid: "FindTheGroup", Effect: allow, Action: []string{"logs:DescribeLogGroups"},
			Resource: []string{"arn:" + partition(region) + ":logs:" + region + ":" + account + ":log-group:*"},
		},
		statement{
			Sid: "WriteFlowLogs", Effect: allow,
			Action:   []string{"logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"},
			Resource: []string{groupARN, groupARN + ":*"},
		},
	)
}
