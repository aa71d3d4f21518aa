package environment

// OutputsFormat is the version of Outputs. assistctl refuses another.
const OutputsFormat = 1

// Outputs is the stack output "environment": all that assistctl has to know of an environment. It holds no secret.
// cli/target/kubernetes reads it with a type of its own; a test compares the two.
type Outputs struct {
	Format      int               `json:"format"`
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace"`
	URL         string            `json:"url"`
	InternalURL string            `json:"internalURL"`
	Address     string            `json:"address"` // host:port of the ingress when the URL's host is not in DNS
	TLSCA       string            `json:"tlsCA"`   // PEM, when the certificate's CA is not a public one
	Kube        Kube              `json:"kube"`
	Images      ImagesOutput      `json:"images"`
	Replicas    int               `json:"replicas"`
	Settings    map[string]string `json:"settings"`
	Release     *Release          `json:"release"`
	Bucket      BucketOutput      `json:"bucket"`
	Database    DatabaseOutput    `json:"database"`
	Schedule    Schedule          `json:"schedule"`
	Retention   Retention         `json:"retention"`
	Monitoring  string            `json:"monitoring"`
}

// ImagesOutput says where the release's images are.
type ImagesOutput struct {
	Registry string `json:"registry"`
}

// BucketOutput says where the bucket is and which Secret opens it.
type BucketOutput struct {
	Kind      string `json:"kind"`
	Endpoint  string `json:"endpoint"`
	Region    string `json:"region"`
	Name      string `json:"name"`
	PathStyle bool   `json:"pathStyle"`
	Service   string `json:"service"` // in the namespace, when the endpoint is there; else ""
	Port      int    `json:"port"`    // of that service
	Secret    string `json:"secret"`  // with access-key and secret-key; "" when the operator's own AWS credentials are used
}

// DatabaseOutput says what PostgreSQL is called in the cluster.
type DatabaseOutput struct {
	Service     string `json:"service"`
	Host        string `json:"host"`
	Port        int    `json:"port"`
	Name        string `json:"name"`
	Role        string `json:"role"`
	BackupRole  string `json:"backupRole"`
	StatefulSet string `json:"statefulSet"`
	Claim       string `json:"claim"`
	Secret      string `json:"secret"`
	Image       string `json:"image"`
	Volume      string `json:"volume"` // where the claim is mounted
	Live        string `json:"live"`   // PGDATA
}
