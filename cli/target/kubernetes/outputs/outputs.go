// Package outputs is what a stack says of the environment that it made: its output `environment`, which assistctl reads from the stack,
// and pods from a file. Everything that assistctl needs to know about an environment stands here, so that nothing is configured twice.
//
// It owns the form and nothing that is done with it. It imports neither Pulumi nor a Kubernetes client, so that pods can.
package outputs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/smart-assistant/platform/cli/fault"
)

// Format is the one that this build reads.
const Format = 1

// Outputs describe an environment. There is no secret in them.
type Outputs struct {
	Format      int               `json:"format"`
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace"`
	URL         string            `json:"url"`
	InternalURL string            `json:"internalURL"`
	Address     string            `json:"address"` // host:port of the ingress, when the URL's host is not in the DNS yet
	TLSCA       string            `json:"tlsCA"`   // PEM of the ingress's CA, when it is not a public one
	Kube        Kube              `json:"kube"`
	Images      Images            `json:"images"`
	Replicas    int               `json:"replicas"`
	Settings    map[string]string `json:"settings"` // of the environment; they win over the release's
	Release     *Release          `json:"release"`  // nil before the first deployment
	Bucket      Bucket            `json:"bucket"`
	Database    Database          `json:"database"`
	Schedule    Schedule          `json:"schedule"`
	Retention   Retention         `json:"retention"`
	Monitoring  string            `json:"monitoring"` // install, existing or none
}

// Kube says how the cluster is reached.
type Kube struct {
	Context    string `json:"context"`
	Kubeconfig string `json:"kubeconfig"` // a path; "" is kubectl's own
}

// Images says where the images of releases are.
type Images struct {
	Registry string `json:"registry"`
}

// Release is what the environment runs.
type Release struct {
	Version  string            `json:"version"`
	Commit   string            `json:"commit"`
	Images   map[string]string `json:"images"` // digests, by name
	Settings map[string]string `json:"settings"`
}

// Bucket kinds.
const (
	BucketCluster = "cluster" // an S3 server in the cluster itself
	BucketS3      = "s3"      // any S3 endpoint
	BucketAWS     = "aws"     // Amazon's, with credentials from the surroundings
)

// Bucket says where backups, releases and the ledger are.
type Bucket struct {
	Kind      string `json:"kind"`
	Endpoint  string `json:"endpoint"`
	Region    string `json:"region"`
	Name      string `json:"name"`
	PathStyle bool   `json:"pathStyle"`
	Service   string `json:"service"` // with BucketCluster: the Service to forward to
	Port      int    `json:"port"`
	Secret    string `json:"secret"` // with the operator's credentials; "" where they come from elsewhere
}

// Database says where PostgreSQL is and who uses it.
type Database struct {
	Service     string `json:"service"`
	Host        string `json:"host"` // in the cluster
	Port        int    `json:"port"`
	Name        string `json:"name"`
	Role        string `json:"role"`
	BackupRole  string `json:"backupRole"`
	StatefulSet string `json:"statefulSet"`
	Claim       string `json:"claim"`
	Secret      string `json:"secret"`
	Image       string `json:"image"`
	Volume      string `json:"volume"` // where pods mount the claim
	Live        string `json:"live"`   // the data directory on it
}

// Schedule says when the cluster takes and prunes backups, as cron does.
type Schedule struct {
	Backup string `json:"backup"`
	Prune  string `json:"prune"`
}

// Retention says which backups a prune keeps.
type Retention struct {
	KeepLast      int `json:"keepLast"`
	Daily         int `json:"daily"`
	Weekly        int `json:"weekly"`
	PreDeployDays int `json:"preDeployDays"`
}

// Parse reads what the stack said. Names that this build does not know are not an error: a newer stack may say more.
func Parse(content []byte) (Outputs, error) {
	var o Outputs
	if err := json.NewDecoder(bytes.NewReader(content)).Decode(&o); err != nil {
		return Outputs{}, fmt.Errorf("stack output `environment`: %w", err)
	}
	if o.Format != Format {
		return Outputs{}, fault.Hint(fmt.Errorf("stack output `environment` has format %d, this assistctl reads %d", o.Format, Format),
			"use the assistctl of the checkout that the stack was brought up with")
	}
	return o, o.check()
}

func (o Outputs) check() error {
	said := map[string]string{
		"name": o.Name, "namespace": o.Namespace, "bucket.name": o.Bucket.Name, "database.host": o.Database.Host, "database.name": o.Database.Name,
		"database.role": o.Database.Role, "database.backupRole": o.Database.BackupRole, "database.volume": o.Database.Volume, "database.live": o.Database.Live,
	}
	var missing []error
	for _, name := range slices.Sorted(maps.Keys(said)) {
		if said[name] == "" {
			missing = append(missing, fmt.Errorf("stack output `environment` says no %s", name))
		}
	}
	if d := o.Database; d.Live != "" && path.Dir(d.Live) != path.Clean(d.Volume) {
		missing = append(missing, fmt.Errorf("stack output `environment`: the data directory %s is not a folder of the volume %s", d.Live, d.Volume))
	}
	return errors.Join(missing...)
}

// Folder is where pods find their configuration: what the stack says, and their secrets below it.
const Folder = "/etc/assistctl"

// Files are a pod's configuration, below a folder such as Folder.
type Files string

// Environment is what the stack said.
func (f Files) Environment() (Outputs, error) {
	content, err := os.ReadFile(f.path("environment.json"))
	if err != nil {
		return Outputs{}, fmt.Errorf("this pod's environment: %w", err)
	}
	return Parse(content)
}

func (f Files) path(names ...string) string {
	return filepath.Join(append([]string{string(f)}, names...)...)
}

// Writer is the file with which backups are written.
func (f Files) Writer() string { return f.path("writer", "writer.json") }

// Bucket is one of the bucket's access-key, secret-key and ca.crt.
func (f Files) Bucket(name string) string { return f.path("bucket", name) }

// Database is one of the database's superuser-password, service-password, backup-password, ca.crt, tls.crt and tls.key; each pod has
// those of them that it needs.
func (f Files) Database(name string) string { return f.path("database", name) }
