package infra

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/smart-assistant/platform/infra/environment"
)

// declared is what a program declared, by type.
type declared struct {
	mu      sync.Mutex
	made    []pulumi.MockResourceArgs
	unknown []string // types whose ids nobody knows yet, as in a preview that makes them
}

func (d *declared) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.made = append(d.made, args)
	outputs := args.Inputs.Copy()
	outputs["arn"] = resource.NewStringProperty("arn:" + args.TypeToken + ":" + args.Name)
	switch args.TypeToken {
	case "aws:eks/cluster:Cluster":
		outputs["endpoint"] = resource.NewStringProperty("https://api.example.com")
		reach := args.Inputs["vpcConfig"].ObjectValue().Copy()
		reach["clusterSecurityGroupId"] = resource.NewStringProperty("sg-cluster")
		outputs["vpcConfig"] = resource.NewObjectProperty(reach)
		outputs["certificateAuthority"] = resource.NewObjectProperty(resource.PropertyMap{"data": resource.NewStringProperty("Y2E=")})
	case "aws:ec2/launchTemplate:LaunchTemplate":
		outputs["latestVersion"] = resource.NewNumberProperty(1)
	}
	if slices.ContainsFunc(d.unknown, func(kind string) bool { return strings.HasSuffix(args.TypeToken, ":"+kind) }) {
		return "", outputs, nil
	}
	return args.Name + "-id", outputs, nil
}

func (d *declared) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return nil, fmt.Errorf("asks AWS for %s, though everything is in the settings", args.Token)
}

// of returns what was declared of a type: aws:s3/bucketV2:BucketV2 is found by "BucketV2".
func (d *declared) of(kind string) []pulumi.MockResourceArgs {
	var found []pulumi.MockResourceArgs
	for _, r := range d.made {
		if strings.HasSuffix(r.TypeToken, ":"+kind) {
			found = append(found, r)
		}
	}
	return found
}

func awsSettings() environment.Settings {
	return environment.Settings{
		Name: "prod", Namespace: "assistant-prod", Protect: true, Cluster: environment.ClusterEKS,
		AWS: environment.AWS{
			Account: testAccount, Region: testRegion, Zones: []string{"eu-central-1a", "eu-central-1b", "eu-central-1c"}, CIDR: "10.0.0.0/16",
			NATGateways: 3, Kubernetes: "1.34", Nodes: environment.Nodes{Type: "m7i.large", Min: 3, Max: 7, DiskGiB: 50},
			PublicAccess: []string{"203.0.113.0/24"}, Administrators: []string{"arn:aws:iam::111122223333:role/deployer"},
			GraceDays: 30, ObjectLockDays: 14, LogDays: 90,
		},
		Bucket: environment.Bucket{Kind: environment.BucketAWS, Name: "assistant-prod-backups"},
	}
}

func declare(t *testing.T, s environment.Settings) (*declared, *awsParts) {
	t.Helper()
	d := &declared{}
	var parts *awsParts
	err := pulumi.RunErr(func(ctx *pulumi.Context) (err error) {
		if parts, err = deployAWS(ctx, s); err != nil {
			return err
		}
		return parts.storeSecrets(ctx, s, map[string]pulumi.StringMap{"postgres": {"superuser-password": pulumi.String("hunter2")}})
	}, pulumi.WithMocks("smart-assistant", s.Name, d))
	if err != nil {
		t.Fatal(err)
	}
	return d, parts
}

func TestEnvironmentWithoutAWS(t *testing.T) {
	s := awsSettings()
	s.Cluster, s.Bucket.Kind = environment.ClusterExisting, environment.BucketCluster
	if d, parts := declare(t, s); parts != nil || len(d.made) > 0 {
		t.Errorf("made %v", d.made)
	}
}

// TestDataIsGuarded: what holds data, or opens it, cannot be destroyed with the stack.
func TestDataIsGuarded(t *testing.T) {
	guarded := []string{
		"BucketV2", "BucketVersioningV2", "BucketServerSideEncryptionConfigurationV2", "BucketPublicAccessBlock", "BucketOwnershipControls",
		"BucketPolicy", "BucketLifecycleConfigurationV2", "BucketObjectLockConfigurationV2", "Key", "Secret", "Repository",
	}
	for _, protect := range []bool{true, false} {
		s := awsSettings()
		s.Protect = protect
		d, _ := declare(t, s)
		for _, kind := range guarded {
			found := d.of(kind)
			if len(found) == 0 {
				t.Errorf("no %s", kind)
			}
			for _, r := range found {
				if r.RegisterRPC.GetProtect() != protect || r.RegisterRPC.GetRetainOnDelete() != protect {
					t.Errorf("protect: %v, but %s %s has protect %v and retainOnDelete %v", protect, kind, r.Name, r.RegisterRPC.GetProtect(), r.RegisterRPC.GetRetainOnDelete())
				}
			}
		}
	}
}

func TestEverythingIsEncrypted(t *testing.T) {
	d, _ := declare(t, awsSettings())
	for kind, property := range map[string]string{
		"LogGroup": "kmsKeyId", "Secret": "kmsKeyId", "Cluster": "encryptionConfig", "Repository": "encryptionConfigurations",
		"BucketServerSideEncryptionConfigurationV2": "rules",
	} {
		found := d.of(kind)
		if kind == "Cluster" {
			found = d.of("Cluster")[:0]
			for _, r := range d.made {
				if r.TypeToken == "aws:eks/cluster:Cluster" {
					found = append(found, r)
				}
			}
		}
		if len(found) == 0 {
			t.Errorf("no %s", kind)
		}
		for _, r := range found {
			if text := fmt.Sprint(r.Inputs[resource.PropertyKey(property)]); !strings.Contains(text, "arn:aws:kms/key:Key:") {
				t.Errorf("%s %s: %s is %s; want a key of ours", kind, r.Name, property, text)
			}
		}
	}
	for _, key := range d.of("Key") {
		if !key.Inputs["enableKeyRotation"].BoolValue() {
			t.Errorf("key %s is not rotated", key.Name)
		}
	}
	for _, template := range d.of("LaunchTemplate") {
		text := fmt.Sprint(template.Inputs)
		if !strings.Contains(text, "httpTokens:{required}") || !strings.Contains(text, "httpPutResponseHopLimit:{1}") || !strings.Contains(text, "encrypted:{true}") {
			t.Errorf("nodes: %s", text)
		}
	}
}

func TestNetworkOverThreeZones(t *testing.T) {
	for gateways := 1; gateways <= 3; gateways += 2 {
		s := awsSettings()
		s.AWS.NATGateways = gateways
		d, _ := declare(t, s)
		zones := map[string]int{}
		for _, subnet := range d.of("Subnet") {
			zones[subnet.Inputs["availabilityZone"].StringValue()]++
		}
		if len(zones) != 3 || zones["eu-central-1a"] != 2 || zones["eu-central-1b"] != 2 || zones["eu-central-1c"] != 2 {
			t.Errorf("subnets by zone: %v", zones)
		}
		if n := len(d.of("NatGateway")); n != gateways {
			t.Errorf("%d NAT gateways; want %d", n, gateways)
		}
		routes := map[string]bool{}
		for _, route := range d.of("Route") {
			if nat := route.Inputs["natGatewayId"]; nat.IsString() {
				routes[nat.StringValue()] = true
			}
		}
		if len(routes) != gateways {
			t.Errorf("private routes go to %v; want %d gateways", routes, gateways)
		}
		if n := len(d.of("NodeGroup")); n != 3 {
			t.Errorf("%d node groups; want one a zone", n)
		}
	}
}

func TestAPIServerAccess(t *testing.T) {
	s := awsSettings()
	d, parts := declare(t, s)
	if text := clusterInputs(t, d); !strings.Contains(text, "endpointPublicAccess:{true}") || !strings.Contains(text, "203.0.113.0/24") {
		t.Errorf("the cluster is reached from: %s", text)
	}
	if secret := pulumi.IsSecret(parts.Cluster.Kubeconfig); !secret {
		t.Error("the kubeconfig is no secret")
	}
	s.AWS.PublicAccess, s.AWS.PrivateAccess = nil, []string{"10.8.0.0/16", "10.9.0.0/16"}
	d, _ = declare(t, s)
	if text := clusterInputs(t, d); !strings.Contains(text, "endpointPublicAccess:{false}") || strings.Contains(text, "publicAccessCidrs") {
		t.Errorf("a private cluster is reached from: %s", text)
	}
	doors := d.of("SecurityGroupIngressRule")
	if len(doors) != 2 {
		t.Fatalf("%d rules let private ranges in; want 2", len(doors))
	}
	for _, door := range doors {
		if text := fmt.Sprint(door.Inputs); !strings.Contains(text, "securityGroupId:{sg-cluster}") || !strings.Contains(text, "fromPort:{443}") || !strings.Contains(text, "toPort:{443}") {
			t.Errorf("a private range comes in by: %s", text)
		}
	}
	s.AWS.Administrators = nil
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		_, err := deployAWS(ctx, s)
		return err
	}, pulumi.WithMocks("smart-assistant", "prod", &declared{}))
	if err == nil || !strings.Contains(err.Error(), "nobody could reach it") {
		t.Errorf("a cluster without administrators: %v", err)
	}
}

// TestMoreNodes: aws.nodes.min can be raised, which EKS refuses when the desired size stays behind.
func TestMoreNodes(t *testing.T) {
	s := awsSettings()
	s.AWS.Nodes.Min = 6
	d, _ := declare(t, s)
	for _, group := range d.of("NodeGroup") {
		text := fmt.Sprint(group.Inputs["scalingConfig"])
		if !strings.Contains(text, "desiredSize:{2}") || !strings.Contains(text, "minSize:{2}") || len(group.RegisterRPC.GetIgnoreChanges()) > 0 {
			t.Errorf("%s has %s and ignores changes of %v", group.Name, text, group.RegisterRPC.GetIgnoreChanges())
		}
	}
}

// TestClusterGrowsInPlace: with a new administrator, node group or add-on in a preview, the way to the cluster is known all the same, or Pulumi would replace
// every object in it; but it is taken only when they are there.
func TestClusterGrowsInPlace(t *testing.T) {
	d := &declared{unknown: []string{"AccessEntry", "AccessPolicyAssociation", "NodeGroup", "Addon", "SecurityGroupIngressRule"}}
	s := awsSettings()
	s.AWS.PrivateAccess = []string{"10.8.0.0/16"}
	if err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		parts, err := deployAWS(ctx, s)
		if err != nil {
			return err
		}
		_, err = clusterProvider(ctx, s, parts)
		return err
	}, pulumi.WithMocks("smart-assistant", s.Name, d), func(run *pulumi.RunInfo) { run.DryRun = true }); err != nil {
		t.Fatal(err)
	}
	provider := d.of("kubernetes")[0]
	if text := fmt.Sprint(provider.Inputs["kubeconfig"]); !strings.Contains(text, "https://api.example.com") {
		t.Errorf("the kubeconfig in a preview is %s", text)
	}
	if id := provider.Inputs["clusterIdentifier"]; !id.IsString() || id.StringValue() != "https://api.example.com" {
		t.Errorf("the cluster in a preview is %v", id)
	}
	waits := strings.Join(provider.RegisterRPC.GetDependencies(), " ")
	for _, kind := range d.unknown[1:] {
		for _, r := range d.of(kind) {
			if !strings.Contains(waits, "::"+r.Name) {
				t.Errorf("the way to the cluster does not wait for %s %s", kind, r.Name)
			}
		}
	}
}

func clusterInputs(t *testing.T, d *declared) string {
	t.Helper()
	for _, r := range d.made {
		if r.TypeToken == "aws:eks/cluster:Cluster" {
			return fmt.Sprint(r.Inputs)
		}
	}
	t.Fatal("no cluster")
	return ""
}

// TestPrunerIsTheOneOfTheBucket: the bucket names the role before it exists, so the names must agree.
func TestPrunerIsTheOneOfTheBucket(t *testing.T) {
	d, _ := declare(t, awsSettings())
	var role string
	for _, association := range d.of("PodIdentityAssociation") {
		if association.Inputs["serviceAccount"].StringValue() == "prune" {
			role = association.Name
		}
	}
	document := d.of("BucketPolicy")[0].Inputs["policy"].StringValue()
	if role == "" || !strings.Contains(document, roleARN(testRegion, testAccount, role)) {
		t.Errorf("the pruner is %q; the bucket's policy is %s", role, document)
	}
}

func TestKubeconfigText(t *testing.T) {
	text, err := kubeconfigText(testRegion, "assistant-prod", "https://api.example.com", "Y2E=")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Clusters []struct {
			Cluster struct {
				Server string `json:"server"`
				CA     string `json:"certificate-authority-data"`
			} `json:"cluster"`
		} `json:"clusters"`
		Users []struct {
			User struct {
				Exec struct {
					Command string   `json:"command"`
					Args    []string `json:"args"`
				} `json:"exec"`
			} `json:"user"`
		} `json:"users"`
	}
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	if c := config.Clusters[0].Cluster; c.Server != "https://api.example.com" || c.CA != "Y2E=" {
		t.Errorf("cluster %+v", c)
	}
	if e := config.Users[0].User.Exec; e.Command != "aws" || strings.Join(e.Args, " ") != "--region eu-central-1 eks get-token --cluster-name assistant-prod --output json" {
		t.Errorf("user %+v", e)
	}
}
