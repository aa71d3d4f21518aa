// Package environment is what an engineer can say about an environment (Settings) and what its stack says about it in return
// (Outputs), both typed.
//
// It reads the stack's configuration, refuses what does not hold together with every problem in one error, and knows which settings
// may differ between staging and prod. It makes no resources, imports no Pulumi, and asks nobody: the same text gives the same Settings.
package environment

import "net/netip"

// Where the cluster comes from.
const (
	ClusterExisting = "existing" // a context of a kubeconfig
	ClusterEKS      = "eks"      // made by the stack, with its network
)

// Where the bucket is.
const (
	BucketCluster = "cluster" // versitygw beside the service
	BucketAWS     = "aws"     // made by the stack
	BucketS3      = "s3"      // any S3 endpoint that somebody runs
)

// What to do about an add-on.
const (
	Install  = "install"
	Existing = "existing"
	None     = "none"
)

// Where the ingress's certificate comes from.
const (
	TLSGenerated   = "generated"    // by the stack, under a CA of its own
	TLSCertManager = "cert-manager" // by an issuer
	TLSSecret      = "secret"       // somebody put it into a Secret
)

// Secret is a text that must not be printed.
type Secret string

// String hides the text from formatting verbs.
func (Secret) String() string { return "[secret]" }

// GoString hides it from %#v.
func (Secret) GoString() string { return "[secret]" }

// Reveal returns the text.
func (s Secret) Reveal() string { return string(s) }

// Settings are one environment's, complete and checked: what was not given has its default.
type Settings struct {
	Name         string // the stack's
	Namespace    string
	Protect      bool   // destroying takes neither data nor what opens it
	StorageClass string // "" is the cluster's default
	Cluster      string // ClusterExisting or ClusterEKS
	Kube         Kube
	AWS          AWS
	Images       Images
	API          API
	Service      map[string]string // the service's variables in this environment, over those of the release
	Database     Database
	Cache        Cache
	Bucket       Bucket
	Ingress      Ingress
	TLS          TLS
	Addons       Addons
	Monitoring   Monitoring
	OpenWebUI    OpenWebUI
	Schedule     Schedule
	Retention    Retention
	Secrets      Secrets
	Release      *Release // nil before the first deployment
}

// UsesAWS says whether the stack makes anything there.
func (s Settings) UsesAWS() bool { return s.Cluster == ClusterEKS || s.Bucket.Kind == BucketAWS }

// Kube is the way to an existing cluster.
type Kube struct {
	Context    string `json:"context"`
	Kubeconfig string `json:"kubeconfig"` // a file; "" is $KUBECONFIG or ~/.kube/config
}

// Images are what runs beside the service. The service's own come from the release, by digest.
type Images struct {
	Registry  string // where the release's images are, without their names; "" is the ECR that an EKS stack makes
	Postgres  string
	Valkey    string
	Versitygw string
	OpenWebUI string
}

// Resources of a container: what it is promised and what it may take.
type Resources struct {
	CPU, CPULimit       string
	Memory, MemoryLimit string
}

// API is the service.
type API struct {
	Host             string
	Replicas         int // the least
	MaxReplicas      int // the most, under load
	CPUPercent       int // of the request, above which a replica is added
	ProgressDeadline int // seconds in which a rollout must get on
	DrainSeconds     int // that a replica goes on as if nothing were, once its end is decided
	Egress           []Destination
	Resources        Resources
}

// Destination is what the service may connect to beside public addresses at its usual ports: a port of a network, by TCP.
type Destination struct {
	Network netip.Prefix
	Port    uint16
}

// Database is PostgreSQL.
type Database struct {
	Storage     string
	Connections int
	Resources   Resources
}

// Cache is Valkey. It keeps nothing over a restart.
type Cache struct {
	Resources Resources
}

// Bucket is the environment's S3 bucket: ledger, keys and backups.
type Bucket struct {
	Kind      string // BucketCluster, BucketAWS or BucketS3
	Endpoint  string // of BucketS3, a URL
	Region    string
	Name      string
	PathStyle bool
	CA        string // PEM, when the endpoint's is not a public one
	Storage   string // of BucketCluster
	Operator  Credentials
	Writer    Credentials // may read and write, not delete
	Pruner    Credentials // may delete
}

// Credentials of a bucket.
type Credentials struct {
	AccessKey string
	SecretKey Secret
}

// Ingress is the way in.
type Ingress struct {
	Class     string
	Namespace string // of the controller
	Address   string // host:port, when the URL's host is not in DNS
	Rate      int    // requests a second for one client, on average
	Burst     int    // and at once
}

// TLS of the ingress.
type TLS struct {
	From   string // TLSGenerated, TLSCertManager or TLSSecret
	Secret string // of TLSSecret, its name
	Issuer string // of TLSCertManager: a ClusterIssuer that is there
	Email  string // or an address for ACME, for which the stack makes an Issuer
	CA     string // PEM, when the certificate's is not a public one
}

// Addons are what a cluster may have already.
type Addons struct {
	Ingress     string // Install or Existing
	CertManager string // Install, Existing or None
	Monitoring  string // Install, Existing or None
}

// Schedule is when the CronJobs run, in cron's five fields, UTC.
type Schedule struct {
	Backup string `json:"backup"`
	Prune  string `json:"prune"`
}

// Retention is which backups pruning keeps.
type Retention struct {
	KeepLast      int `json:"keepLast"`
	Daily         int `json:"daily"`
	Weekly        int `json:"weekly"`
	PreDeployDays int `json:"preDeployDays"`
}

// Secrets that were given. An empty one of the platform's own is generated, once; one of somebody else's service is left out.
type Secrets struct {
	JWTKey            Secret // PEM of a P-256 private key
	MasterKey         Secret // lines of base64, the first of which seals
	DatabasePassword  Secret // of the service's role
	BackupPassword    Secret // of the replication role
	SuperuserPassword Secret
	CachePassword     Secret

	LLMKey             Secret // of the language model's server
	GoogleClientSecret Secret
	SMTPURL            Secret // with user and password
	OIDCProviders      Secret // a list in YAML or JSON
}
