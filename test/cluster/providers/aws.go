package providers

import (
	"reflect"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/cloudwatch"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ecr"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/eks"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/kms"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/s3"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/secretsmanager"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/vpc"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// cloud is one resource type of AWS: the SDK's types, what its ids look like, what cannot be changed.
type cloud struct {
	args     pulumi.Input
	resource any // a pointer to the SDK's resource
	service  string
	prefix   string               // of an id that AWS makes up
	id       resource.PropertyKey // or the input or output that is the id
	name     resource.PropertyKey
	frozen   []string
	secrets  []resource.PropertyKey
}

// newAWS is the stand-in of pulumi-aws. It knows the types that the stacks use; no cloud is asked about anything.
func newAWS(log *logger) *recorded {
	p := &recorded{name: "aws", version: semver.Version{Major: 6, Minor: 83}, log: log, resources: map[tokens.Type]recipe{}}
	for _, types := range []map[tokens.Type]cloud{networkTypes, clusterTypes, storeTypes} {
		for t, c := range types {
			p.resources[t] = recipe{
				args: inputsOf(c.args), name: c.name, frozen: c.frozen, secrets: c.secrets,
				make: func(m made) (resource.ID, resource.PropertyMap, error) { return invent(c, m) },
			}
		}
	}
	return p
}

// outputsOf lists the properties of an SDK's resource.
func outputsOf(r any) map[resource.PropertyKey]reflect.Type {
	outputs := map[resource.PropertyKey]reflect.Type{}
	for field := range fieldsOf(reflect.TypeOf(r).Elem()) {
		outputs[resource.PropertyKey(field.Tag.Get("pulumi"))] = field.Type
	}
	return outputs
}

var networkTypes = map[tokens.Type]cloud{
	"aws:ec2/vpc:Vpc": {args: ec2.VpcArgs{}, resource: &ec2.Vpc{}, service: "ec2", prefix: "vpc-", frozen: []string{"cidrBlock"}},
	"aws:ec2/subnet:Subnet": {
		args: ec2.SubnetArgs{}, resource: &ec2.Subnet{}, service: "ec2", prefix: "subnet-", frozen: []string{"availabilityZone", "cidrBlock", "vpcId"},
	},
	"aws:ec2/internetGateway:InternetGateway": {args: ec2.InternetGatewayArgs{}, resource: &ec2.InternetGateway{}, service: "ec2", prefix: "igw-"},
	"aws:ec2/eip:Eip":                         {args: ec2.EipArgs{}, resource: &ec2.Eip{}, service: "ec2", prefix: "eipalloc-", frozen: []string{"domain"}},
	"aws:ec2/natGateway:NatGateway": {
		args: ec2.NatGatewayArgs{}, resource: &ec2.NatGateway{}, service: "ec2", prefix: "nat-", frozen: []string{"allocationId", "subnetId", "connectivityType"},
	},
	"aws:ec2/routeTable:RouteTable": {args: ec2.RouteTableArgs{}, resource: &ec2.RouteTable{}, service: "ec2", prefix: "rtb-", frozen: []string{"vpcId"}},
	"aws:ec2/route:Route": {
		args: ec2.RouteArgs{}, resource: &ec2.Route{}, service: "ec2", prefix: "r-", frozen: []string{"routeTableId", "destinationCidrBlock"},
	},
	"aws:ec2/routeTableAssociation:RouteTableAssociation": {
		args: ec2.RouteTableAssociationArgs{}, resource: &ec2.RouteTableAssociation{}, service: "ec2", prefix: "rtbassoc-", frozen: []string{"subnetId"},
	},
	"aws:ec2/vpcEndpoint:VpcEndpoint": {
		args: ec2.VpcEndpointArgs{}, resource: &ec2.VpcEndpoint{}, service: "ec2", prefix: "vpce-", frozen: []string{"serviceName", "vpcId", "vpcEndpointType"},
	},
	"aws:ec2/flowLog:FlowLog": {args: ec2.FlowLogArgs{}, resource: &ec2.FlowLog{}, service: "ec2", prefix: "fl-", frozen: []string{"*"}},
	"aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": {
		args: ec2.DefaultSecurityGroupArgs{}, resource: &ec2.DefaultSecurityGroup{}, service: "ec2", prefix: "sg-", frozen: []string{"vpcId"},
	},
	"aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": {
		args: vpc.SecurityGroupIngressRuleArgs{}, resource: &vpc.SecurityGroupIngressRule{}, service: "ec2", prefix: "sgr-", frozen: []string{"securityGroupId"},
	},
	"aws:ec2/launchTemplate:LaunchTemplate": {
		args: ec2.LaunchTemplateArgs{}, resource: &ec2.LaunchTemplate{}, service: "ec2", prefix: "lt-", name: "name", frozen: []string{"name"},
	},
}

var clusterTypes = map[tokens.Type]cloud{
	"aws:eks/cluster:Cluster": {
		args: eks.ClusterArgs{}, resource: &eks.Cluster{}, service: "eks", id: "name", name: "name", frozen: []string{"name", "roleArn", "encryptionConfig"},
	},
	"aws:eks/nodeGroup:NodeGroup": {
		args: eks.NodeGroupArgs{}, resource: &eks.NodeGroup{}, service: "eks", id: "nodeGroupName", name: "nodeGroupName",
		frozen: []string{"clusterName", "nodeGroupName", "subnetIds", "amiType", "instanceTypes", "capacityType", "diskSize", "nodeRoleArn"},
	},
	"aws:eks/addon:Addon": {args: eks.AddonArgs{}, resource: &eks.Addon{}, service: "eks", id: "addonName", frozen: []string{"addonName", "clusterName"}},
	"aws:eks/accessEntry:AccessEntry": {
		args: eks.AccessEntryArgs{}, resource: &eks.AccessEntry{}, service: "eks", id: "principalArn", frozen: []string{"clusterName", "principalArn", "type"},
	},
	"aws:eks/accessPolicyAssociation:AccessPolicyAssociation": {
		args: eks.AccessPolicyAssociationArgs{}, resource: &eks.AccessPolicyAssociation{}, service: "eks", id: "policyArn", frozen: []string{"*"},
	},
	"aws:eks/podIdentityAssociation:PodIdentityAssociation": {
		args: eks.PodIdentityAssociationArgs{}, resource: &eks.PodIdentityAssociation{}, service: "eks", prefix: "a-",
		frozen: []string{"clusterName", "namespace", "serviceAccount"},
	},
	"aws:iam/role:Role":     {args: iam.RoleArgs{}, resource: &iam.Role{}, service: "iam", id: "name", name: "name", frozen: []string{"name", "path"}},
	"aws:iam/policy:Policy": {args: iam.PolicyArgs{}, resource: &iam.Policy{}, service: "iam", id: "arn", name: "name", frozen: []string{"name", "path", "description"}},
	"aws:iam/rolePolicy:RolePolicy": {
		args: iam.RolePolicyArgs{}, resource: &iam.RolePolicy{}, service: "iam", id: "name", name: "name", frozen: []string{"name", "role"},
	},
	"aws:iam/rolePolicyAttachment:RolePolicyAttachment": {
		args: iam.RolePolicyAttachmentArgs{}, resource: &iam.RolePolicyAttachment{}, service: "iam", prefix: "attachment-", frozen: []string{"*"},
	},
}

var storeTypes = map[tokens.Type]cloud{
	"aws:cloudwatch/logGroup:LogGroup": {
		args: cloudwatch.LogGroupArgs{}, resource: &cloudwatch.LogGroup{}, service: "logs", id: "name", name: "name", frozen: []string{"name"},
	},
	"aws:ecr/repository:Repository": {
		args: ecr.RepositoryArgs{}, resource: &ecr.Repository{}, service: "ecr", id: "name", name: "name", frozen: []string{"name", "encryptionConfigurations"},
	},
	"aws:ecr/lifecyclePolicy:LifecyclePolicy": {
		args: ecr.LifecyclePolicyArgs{}, resource: &ecr.LifecyclePolicy{}, service: "ecr", id: "repository", frozen: []string{"repository", "policy"},
	},
	"aws:kms/key:Key":     {args: kms.KeyArgs{}, resource: &kms.Key{}, service: "kms", id: "keyId", frozen: []string{"customerMasterKeySpec", "multiRegion"}},
	"aws:kms/alias:Alias": {args: kms.AliasArgs{}, resource: &kms.Alias{}, service: "kms", id: "name", name: "name", frozen: []string{"name"}},
	"aws:s3/bucketV2:BucketV2": {
		args: s3.BucketV2Args{}, resource: &s3.BucketV2{}, service: "s3", id: "bucket", name: "bucket", frozen: []string{"bucket", "objectLockEnabled"},
	},
	"aws:s3/bucketPolicy:BucketPolicy": {args: s3.BucketPolicyArgs{}, resource: &s3.BucketPolicy{}, service: "s3", id: "bucket", frozen: []string{"bucket"}},
	"aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": {
		args: s3.BucketPublicAccessBlockArgs{}, resource: &s3.BucketPublicAccessBlock{}, service: "s3", id: "bucket", frozen: []string{"bucket"},
	},
	"aws:s3/bucketOwnershipControls:BucketOwnershipControls": {
		args: s3.BucketOwnershipControlsArgs{}, resource: &s3.BucketOwnershipControls{}, service: "s3", id: "bucket", frozen: []string{"bucket"},
	},
	"aws:s3/bucketVersioningV2:BucketVersioningV2": {
		args: s3.BucketVersioningV2Args{}, resource: &s3.BucketVersioningV2{}, service: "s3", id: "bucket", frozen: []string{"bucket"},
	},
	"aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2": {
		args: s3.BucketServerSideEncryptionConfigurationV2Args{}, resource: &s3.BucketServerSideEncryptionConfigurationV2{}, service: "s3", id: "bucket", frozen: []string{"bucket"},
	},
	"aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2": {
		args: s3.BucketLifecycleConfigurationV2Args{}, resource: &s3.BucketLifecycleConfigurationV2{}, service: "s3", id: "bucket", frozen: []string{"bucket"},
	},
	"aws:s3/bucketObjectLockConfigurationV2:BucketObjectLockConfigurationV2": {
		args: s3.BucketObjectLockConfigurationV2Args{}, resource: &s3.BucketObjectLockConfigurationV2{}, service: "s3", id: "bucket", frozen: []string{"bucket"},
	},
	"aws:secretsmanager/secret:Secret": {
		args: secretsmanager.SecretArgs{}, resource: &secretsmanager.Secret{}, service: "secretsmanager", id: "arn", name: "name", frozen: []string{"name"},
	},
	"aws:secretsmanager/secretVersion:SecretVersion": {
		args: secretsmanager.SecretVersionArgs{}, resource: &secretsmanager.SecretVersion{}, service: "secretsmanager", id: "versionId",
		frozen: []string{"secretId", "secretString"}, secrets: []resource.PropertyKey{"secretString"},
	},
}
