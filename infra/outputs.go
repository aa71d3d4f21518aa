package infra

import (
	"encoding/json"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/smart-assistant/platform/infra/environment"
)

// located are the parts of an environment's description that are known once resources are made.
type located struct {
	registry, bucketName, bucketEndpoint, tlsCA pulumi.StringInput
}

// describe is the environment for assistctl, as JSON.
func describe(s environment.Settings, l located) pulumi.StringOutput {
	return pulumi.All(l.registry, l.bucketName, l.bucketEndpoint, l.tlsCA).ApplyT(func(known []any) (string, error) {
		text := func(i int) string { return known[i].(string) } //nolint:errcheck,forcetypeassert // All keeps the types
		o := outputs(s)
		o.Images.Registry, o.Bucket.Name, o.Bucket.Endpoint, o.TLSCA = text(0), text(1), text(2), text(3)
		content, err := json.MarshalIndent(o, "", "  ")
		if err != nil {
			return "", fmt.Errorf("write the environment's description: %w", err)
		}
		return string(content), nil
	}).(pulumi.StringOutput) //nolint:errcheck,forcetypeassert // ApplyT of a string
}

// asObject is JSON text as a value that Pulumi shows and exports member by member.
func asObject(text pulumi.StringOutput) pulumi.MapOutput {
	return text.ApplyT(func(text string) (map[string]any, error) {
		var object map[string]any
		if err := json.Unmarshal([]byte(text), &object); err != nil {
			return nil, fmt.Errorf("read the environment's description: %w", err)
		}
		return object, nil
	}).(pulumi.MapOutput) //nolint:errcheck,forcetypeassert // ApplyT of a map
}

// outputs is what follows from the settings alone.
func outputs(s environment.Settings) environment.Outputs {
	return environment.Outputs{
		Format: environment.OutputsFormat, Name: s.Name, Namespace: s.Namespace,
		URL: "https://" + s.API.Host, InternalURL: fmt.Sprintf("http://%s:%d", host(s, nameAPI), apiPort), Address: s.Ingress.Address,
		Kube: s.Kube, Replicas: s.API.Replicas, Settings: s.Service, Release: s.Release,
		Bucket: bucketOutput(s),
		Database: environment.DatabaseOutput{
			Service: namePostgres, Host: host(s, namePostgres), Port: databasePort, Name: databaseName,
			Role: databaseRole, BackupRole: backupRole, StatefulSet: namePostgres, Claim: "data-" + namePostgres + "-0",
			Secret: namePostgres, Image: s.Images.Postgres, Volume: databaseVolume, Live: databaseLive,
		},
		Schedule: s.Schedule, Retention: s.Retention, Monitoring: s.Addons.Monitoring,
	}
}

func bucketOutput(s environment.Settings) environment.BucketOutput {
	b := environment.BucketOutput{Kind: s.Bucket.Kind, Region: s.Bucket.Region, PathStyle: s.Bucket.PathStyle, Secret: "bucket-operator"}
	switch s.Bucket.Kind {
	case environment.BucketCluster:
		b.Service, b.Port = nameS3, s3Port
	case environment.BucketAWS:
		b.Secret = ""
	}
	return b
}
