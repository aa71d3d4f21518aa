package infra

import (
	"fmt"
	"net/netip"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/cloudwatch"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Network is an environment's VPC: in each of three zones a public subnet for load balancers and a private one for nodes, which reach the
// world through NAT gateways and S3 through an endpoint.
type Network struct {
	pulumi.ResourceState

	VPC            pulumi.IDOutput
	PublicSubnets  pulumi.StringArray // in the order of the zones
	PrivateSubnets pulumi.StringArray
	Routes         []pulumi.Resource // what makes them reachable: nodes wait for it. (Waiting for the component would miss the subnets' own children.)
}

// NetworkArgs say where the network is and how large.
type NetworkArgs struct {
	Prefix      string
	Account     string
	Region      string
	Zones       []string
	CIDR        string
	NATGateways int // one for all zones, or one in each
	LogDays     int
	LogKey      pulumi.StringInput
}

// NewNetwork makes it.
func NewNetwork(ctx *pulumi.Context, name string, args *NetworkArgs, opts ...pulumi.ResourceOption) (*Network, error) {
	n := &Network{}
	if err := ctx.RegisterComponentResource("assistant:platform:Network", name, n, opts...); err != nil {
		return nil, fmt.Errorf("register network %s: %w", name, err)
	}
	public, private, err := subnetRanges(args.CIDR, len(args.Zones))
	if err != nil {
		return nil, err
	}
	vpc, err := ec2.NewVpc(ctx, args.Prefix, &ec2.VpcArgs{
		CidrBlock: pulumi.String(args.CIDR), EnableDnsSupport: pulumi.Bool(true), EnableDnsHostnames: pulumi.Bool(true), Tags: named(args.Prefix),
	}, pulumi.Parent(n))
	if err != nil {
		return nil, fmt.Errorf("make VPC %s: %w", args.Prefix, err)
	}
	n.VPC = vpc.ID()
	// The default group lets everything in it talk; nothing is in it, and now nothing could.
	if _, err := ec2.NewDefaultSecurityGroup(ctx, args.Prefix, &ec2.DefaultSecurityGroupArgs{VpcId: vpc.ID(), Tags: named(args.Prefix + "-unused")}, pulumi.Parent(vpc)); err != nil {
		return nil, fmt.Errorf("close the default security group: %w", err)
	}
	gateways, err := n.public(ctx, args, vpc, public)
	if err != nil {
		return nil, err
	}
	tables, err := n.private(ctx, args, vpc, private, gateways)
	if err != nil {
		return nil, err
	}
	// Backups and image layers go to S3: by the endpoint, not through (and on the bill of) the NAT gateways.
	if _, err := ec2.NewVpcEndpoint(ctx, args.Prefix+"-s3", &ec2.VpcEndpointArgs{
		VpcId: vpc.ID(), VpcEndpointType: pulumi.String("Gateway"), ServiceName: pulumi.String("com.amazonaws." + args.Region + ".s3"),
		RouteTableIds: tables, Tags: named(args.Prefix + "-s3"),
	}, pulumi.Parent(vpc)); err != nil {
		return nil, fmt.Errorf("make the endpoint of S3: %w", err)
	}
	if err := n.flowLogs(ctx, args, vpc); err != nil {
		return nil, err
	}
	return n, ctx.RegisterResourceOutputs(n, pulumi.Map{"vpc": n.VPC, "publicSubnets": n.PublicSubnets, "privateSubnets": n.PrivateSubnets})
}

// subnetRanges cuts a range into equal halves, a public and a private one, and each half into as many parts as needed, of sizes that are powers of two.
// Nodes and pods live in the private half.
func subnetRanges(cidr string, zones int) (public, private []string, err error) {
	whole, err := netip.ParsePrefix(cidr)
	if err != nil || !whole.Addr().Is4() {
		return nil, nil, fmt.Errorf("network %q is no IPv4 range", cidr)
	}
	bits := whole.Bits() + 1
	for parts := 1; parts < zones; parts *= 2 {
		bits++
	}
	if bits > 28 {
		return nil, nil, fmt.Errorf("network %s is too small for %d zones", cidr, zones)
	}
	first := whole.Masked().Addr().As4()
	base := uint32(first[0])<<24 | uint32(first[1])<<16 | uint32(first[2])<<8 | uint32(first[3])
	at := func(offset uint32) string {
		a := base + offset
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}), bits).String()
	}
	size, half := uint32(1)<<(32-bits), uint32(1)<<(31-whole.Bits())
	for i := range uint32(zones) {
		private = append(private, at(i*size))
		public = append(public, at(half+i*size))
	}
	return public, private, nil
}

// public makes the public subnets and the NAT gateways in them.
func (n *Network) public(ctx *pulumi.Context, args *NetworkArgs, vpc *ec2.Vpc, ranges []string) ([]*ec2.NatGateway, error) {
	internet, err := ec2.NewInternetGateway(ctx, args.Prefix, &ec2.InternetGatewayArgs{VpcId: vpc.ID(), Tags: named(args.Prefix)}, pulumi.Parent(vpc))
	if err != nil {
		return nil, fmt.Errorf("make the internet gateway: %w", err)
	}
	table, err := ec2.NewRouteTable(ctx, args.Prefix+"-public", &ec2.RouteTableArgs{VpcId: vpc.ID(), Tags: named(args.Prefix + "-public")}, pulumi.Parent(vpc))
	if err != nil {
		return nil, fmt.Errorf("make the public route table: %w", err)
	}
	route, err := ec2.NewRoute(ctx, args.Prefix+"-public", &ec2.RouteArgs{
		RouteTableId: table.ID(), DestinationCidrBlock: pulumi.String("0.0.0.0/0"), GatewayId: internet.ID(),
	}, pulumi.Parent(table))
	if err != nil {
		return nil, fmt.Errorf("make the public route: %w", err)
	}
	n.Routes = append(n.Routes, route)
	var gateways []*ec2.NatGateway
	for i, zone := range args.Zones {
		name := args.Prefix + "-public-" + zone
		subnet, err := n.subnet(ctx, vpc, table, args.Prefix, name, zone, ranges[i], "kubernetes.io/role/elb")
		if err != nil {
			return nil, err
		}
		n.PublicSubnets = append(n.PublicSubnets, subnet.ID().ToStringOutput())
		if i >= args.NATGateways {
			continue
		}
		address, err := ec2.NewEip(ctx, args.Prefix+"-nat-"+zone, &ec2.EipArgs{Domain: pulumi.String("vpc"), Tags: named(args.Prefix + "-nat-" + zone)},
			pulumi.Parent(subnet), pulumi.DependsOn([]pulumi.Resource{internet}))
		if err != nil {
			return nil, fmt.Errorf("get an address for the NAT gateway in %s: %w", zone, err)
		}
		gateway, err := ec2.NewNatGateway(ctx, args.Prefix+"-"+zone, &ec2.NatGatewayArgs{
			SubnetId: subnet.ID(), AllocationId: address.ID().ToStringOutput(), Tags: named(args.Prefix + "-" + zone),
		}, pulumi.Parent(subnet), pulumi.DependsOn([]pulumi.Resource{internet}))
		if err != nil {
			return nil, fmt.Errorf("make the NAT gateway in %s: %w", zone, err)
		}
		gateways = append(gateways, gateway)
	}
	if len(gateways) == 0 {
		return nil, fmt.Errorf("network %s has no NAT gateway: nodes could not fetch images", args.Prefix)
	}
	return gateways, nil
}

// private makes the private subnets, each with a route table of its own to the NAT gateway of its zone, or to the only one.
func (n *Network) private(ctx *pulumi.Context, args *NetworkArgs, vpc *ec2.Vpc, ranges []string, gateways []*ec2.NatGateway) (pulumi.StringArray, error) {
	var tables pulumi.StringArray
	for i, zone := range args.Zones {
		name := args.Prefix + "-private-" + zone
		table, err := ec2.NewRouteTable(ctx, name, &ec2.RouteTableArgs{VpcId: vpc.ID(), Tags: named(name)}, pulumi.Parent(vpc))
		if err != nil {
			return nil, fmt.Errorf("make route table %s: %w", name, err)
		}
		route, err := ec2.NewRoute(ctx, name, &ec2.RouteArgs{
			RouteTableId: table.ID(), DestinationCidrBlock: pulumi.String("0.0.0.0/0"), NatGatewayId: gateways[i%len(gateways)].ID(),
		}, pulumi.Parent(table))
		if err != nil {
			return nil, fmt.Errorf("make route %s: %w", name, err)
		}
		n.Routes = append(n.Routes, route)
		subnet, err := n.subnet(ctx, vpc, table, args.Prefix, name, zone, ranges[i], "kubernetes.io/role/internal-elb")
		if err != nil {
			return nil, err
		}
		n.PrivateSubnets = append(n.PrivateSubnets, subnet.ID().ToStringOutput())
		tables = append(tables, table.ID().ToStringOutput())
	}
	return tables, nil
}

// subnet makes one and ties it to its route table. No machine in it gets a public address of its own.
func (n *Network) subnet(ctx *pulumi.Context, vpc *ec2.Vpc, table *ec2.RouteTable, cluster, name, zone, cidr, role string) (*ec2.Subnet, error) {
	tags := named(name)
	tags[role] = pulumi.String("1") // where Kubernetes puts load balancers, in every zone of its own cluster
	tags["kubernetes.io/cluster/"+cluster] = pulumi.String("shared")
	subnet, err := ec2.NewSubnet(ctx, name, &ec2.SubnetArgs{
		VpcId: vpc.ID(), AvailabilityZone: pulumi.String(zone), CidrBlock: pulumi.String(cidr), MapPublicIpOnLaunch: pulumi.Bool(false), Tags: tags,
	}, pulumi.Parent(vpc))
	if err != nil {
		return nil, fmt.Errorf("make subnet %s: %w", name, err)
	}
	tie, err := ec2.NewRouteTableAssociation(ctx, name, &ec2.RouteTableAssociationArgs{SubnetId: subnet.ID(), RouteTableId: table.ID()}, pulumi.Parent(subnet))
	if err != nil {
		return nil, fmt.Errorf("tie subnet %s to its route table: %w", name, err)
	}
	n.Routes = append(n.Routes, tie)
	return subnet, nil
}

func (n *Network) flowLogs(ctx *pulumi.Context, args *NetworkArgs, vpc *ec2.Vpc) error {
	name := args.Prefix + "-flow-logs"
	group, err := cloudwatch.NewLogGroup(ctx, name, &cloudwatch.LogGroupArgs{
		Name: pulumi.String("/" + args.Prefix + "/flow-logs"), RetentionInDays: pulumi.Int(args.LogDays), KmsKeyId: args.LogKey, Tags: named(name),
	}, pulumi.Parent(n))
	if err != nil {
		return fmt.Errorf("make log group %s: %w", name, err)
	}
	trust, err := serviceTrust("vpc-flow-logs.amazonaws.com", args.Account).json()
	if err != nil {
		return err
	}
	role, err := iam.NewRole(ctx, name, &iam.RoleArgs{Name: pulumi.String(name), AssumeRolePolicy: pulumi.String(trust), Tags: named(name)}, pulumi.Parent(n))
	if err != nil {
		return fmt.Errorf("make role %s: %w", name, err)
	}
	write := policyOf(func(v []string) policy { return flowLogsWrite(args.Region, args.Account, v[0]) }, group.Arn)
	allowed, err := iam.NewRolePolicy(ctx, name, &iam.RolePolicyArgs{Name: pulumi.String("write"), Role: role.Name, Policy: write}, pulumi.Parent(role))
	if err != nil {
		return fmt.Errorf("allow role %s: %w", name, err)
	}
	if _, err := ec2.NewFlowLog(ctx, name, &ec2.FlowLogArgs{
		VpcId: vpc.ID(), TrafficType: pulumi.String("ALL"), LogDestinationType: pulumi.String("cloud-watch-logs"), LogDestination: group.Arn,
		IamRoleArn: role.Arn, Tags: named(name),
	}, pulumi.Parent(vpc), pulumi.DependsOn([]pulumi.Resource{allowed})); err != nil {
		return fmt.Errorf("make flow logs %s: %w", name, err)
	}
	return nil
}
