package infra

import (
	"fmt"
	"maps"
	"slices"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/secretsmanager"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// SecretStore holds an environment's secrets in Secrets Manager: a second place, next to the stack's encrypted state, from which people take them with
// a record of who did. Pods do not read it.
type SecretStore struct {
	pulumi.ResourceState
}

// SecretStoreArgs are the secrets, each a set of texts.
type SecretStoreArgs struct {
	Prefix  string
	KeyARN  pulumi.StringInput
	Entries map[string]pulumi.StringMap
	Protect bool
}

// NewSecretStore writes them. A deleted one can be brought back for 30 days.
func NewSecretStore(ctx *pulumi.Context, name string, args *SecretStoreArgs, opts ...pulumi.ResourceOption) (*SecretStore, error) {
	s := &SecretStore{}
	if err := ctx.RegisterComponentResource("assistant:platform:SecretStore", name, s, opts...); err != nil {
		return nil, fmt.Errorf("register secret store %s: %w", name, err)
	}
	for _, entry := range slices.Sorted(maps.Keys(args.Entries)) {
		path := args.Prefix + "/" + entry
		options := guarded(args.Protect, pulumi.Parent(s))
		secret, err := secretsmanager.NewSecret(ctx, path, &secretsmanager.SecretArgs{
			Name: pulumi.String(path), KmsKeyId: args.KeyARN, RecoveryWindowInDays: pulumi.Int(30), Tags: named(path),
		}, options...)
		if err != nil {
			return nil, fmt.Errorf("make secret %s: %w", path, err)
		}
		text := pulumi.JSONMarshal(args.Entries[entry])
		// Another text is another version, which a protected one could never make room for; Secrets Manager keeps the one before.
		if _, err := secretsmanager.NewSecretVersion(ctx, path, &secretsmanager.SecretVersionArgs{
			SecretId: secret.Arn, SecretString: pulumi.ToSecret(text).(pulumi.StringOutput),
		}, pulumi.Parent(secret), pulumi.Protect(false), pulumi.RetainOnDelete(args.Protect)); err != nil {
			return nil, fmt.Errorf("write secret %s: %w", path, err)
		}
	}
	return s, ctx.RegisterResourceOutputs(s, pulumi.Map{})
}
