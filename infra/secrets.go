package infra

import (
	"encoding/base64"
	"fmt"
	"slices"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi-random/sdk/v4/go/random"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/smart-assistant/platform/infra/environment"
)

// Secrets are what the environment's parts know of each other. Each is given in the configuration or generated once; it is encrypted in
// the state and mounted as a file.
type Secrets struct {
	pulumi.ResourceState
	Entries map[string]pulumi.StringMap // by the Secret's name, for Secrets Manager
	s3      pair                        // of the bucket in the cluster
	cache   pulumi.StringOutput         // Valkey's password
	chat    chatKeys                    // by which Open WebUI and the service know each other
	scope   Scope
	opts    []pulumi.ResourceOption
	anew    pulumi.ResourceOption // of what is made anew from time to time, and so cannot be protected
}

// NewSecrets makes the values and the Secrets that hold them.
func NewSecrets(ctx *pulumi.Context, scope Scope, opts ...pulumi.ResourceOption) (*Secrets, error) {
	s := &Secrets{scope: scope, Entries: map[string]pulumi.StringMap{}}
	if err := ctx.RegisterComponentResource(component("Secrets"), "secrets", s, opts...); err != nil {
		return nil, err
	}
	// What opens data goes with the data: losing a password would be as bad as losing the volume.
	s.opts, s.anew = scope.keeps(pulumi.Parent(s)), pulumi.Parent(s)
	for _, step := range []func(*pulumi.Context) error{s.database, s.bucket, s.valkey} {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("make secrets: %w", err)
		}
	}
	return s, ctx.RegisterResourceOutputs(s, pulumi.Map{})
}

// database makes the Secrets of PostgreSQL and of the service, which holds its way there and the key that signs access tokens.
func (s *Secrets) database(ctx *pulumi.Context) error {
	given := s.scope.Settings.Secrets
	superuser, err := s.password(ctx, "database-superuser", given.SuperuserPassword, 32)
	if err != nil {
		return err
	}
	service, err := s.password(ctx, "database-service", given.DatabasePassword, 32)
	if err != nil {
		return err
	}
	replication, err := s.password(ctx, "database-backup", given.BackupPassword, 32)
	if err != nil {
		return err
	}
	ca, err := newAuthority(ctx, "internal-ca", "smart-assistant "+s.scope.Settings.Name, s.opts, s.anew)
	if err != nil {
		return err
	}
	server, err := ca.issue(ctx, "database", names(s.scope.Settings, namePostgres), validHours, renewHours, s.opts, s.anew)
	if err != nil {
		return err
	}
	err = s.store(ctx, "postgres", namePostgres, pulumi.StringMap{
		"superuser-password": superuser, "service-password": service, "backup-password": replication,
		"tls.crt": server.Cert, "tls.key": server.Key, "ca.crt": ca.Cert,
	})
	if err != nil {
		return err
	}
	made, err := newKey(ctx, "jwt", s.opts...)
	if err != nil {
		return err
	}
	jwt := secret(made.PrivateKeyPem)
	if given.JWTKey != "" {
		jwt = secret(pulumi.String(given.JWTKey.Reveal()))
	}
	url := pulumi.Sprintf("postgres://%s:%s@%s:%d/%s?sslmode=verify-full&sslrootcert=%s/ca.crt",
		databaseRole, service, host(s.scope.Settings, namePostgres), databasePort, databaseName, serviceSecrets)
	if err := s.service(ctx, pulumi.StringMap{"database-url": url, "jwt-key.pem": jwt, "ca.crt": ca.Cert}); err != nil {
		return err
	}
	if s.scope.Settings.Bucket.Kind != environment.BucketCluster {
		return nil
	}
	if s.s3, err = ca.issue(ctx, "s3", names(s.scope.Settings, nameS3), validHours, renewHours, s.opts, s.anew); err != nil {
		return err
	}
	return s.clusterBucket(ctx, ca)
}

// chatKeys are the API key of Open WebUI's connection, and the key that signs the user tokens which it sends along.
type chatKeys struct{ connection, user pulumi.StringOutput }

// service makes the Secret of the service, of what it is given and of what is made here: the master key of encryption at rest, the way to
// the cache, and the keys of Open WebUI.
func (s *Secrets) service(ctx *pulumi.Context, values pulumi.StringMap) error {
	master, err := s.password(ctx, "master-key", "", 32)
	if err != nil {
		return err
	}
	values["master-key"] = base64Of(master)
	if given := s.scope.Settings.Secrets.MasterKey; given != "" {
		values["master-key"] = secret(pulumi.String(given.Reveal()))
	}
	if s.cache, err = s.password(ctx, "cache", s.scope.Settings.Secrets.CachePassword, 32); err != nil {
		return err
	}
	values["valkey-url"] = pulumi.Sprintf("redis://default:%s@%s:%d", s.cache, host(s.scope.Settings, nameValkey), cachePort)
	if s.scope.Settings.OpenWebUI.Enabled {
		if s.chat.connection, err = s.password(ctx, "open-webui-connection", "", 48); err != nil {
			return err
		}
		if s.chat.user, err = s.password(ctx, "open-webui-user", "", 48); err != nil {
			return err
		}
		values["chat-key"], values["chat-user-key"] = s.chat.connection, s.chat.user
	}
	for _, f := range operatorSecrets(s.scope.Settings) {
		values[f.entry] = secret(pulumi.String(f.value.Reveal()))
	}
	return s.store(ctx, "assistd", nameAPI, values)
}

// operatorSecret is a secret of somebody else's service that the operator gave: the variable that names its file, and its entry in the Secret.
type operatorSecret struct {
	variable, entry string
	value           environment.Secret
}

// operatorSecrets are those that were given.
func operatorSecrets(s environment.Settings) []operatorSecret {
	return slices.DeleteFunc([]operatorSecret{
		{"ASSISTD_LLM_KEY_FILE", "llm-key", s.Secrets.LLMKey},
		{"ASSISTD_GOOGLE_CLIENT_SECRET_FILE", "google-client-secret", s.Secrets.GoogleClientSecret},
		{"ASSISTD_SMTP_URL_FILE", "smtp-url", s.Secrets.SMTPURL},
		{"ASSISTD_OIDC_PROVIDERS_FILE", "oidc-providers.yaml", s.Secrets.OIDCProviders},
	}, func(o operatorSecret) bool { return o.value == "" })
}

// base64Of writes a text's bytes as the service reads keys.
func base64Of(text pulumi.StringOutput) pulumi.StringOutput {
	return secret(text.ApplyT(func(t string) string { return base64.StdEncoding.EncodeToString([]byte(t)) }).(pulumi.StringOutput))
}

// clusterBucket makes the credentials of the bucket beside the service. versitygw has one root account; who may do what is a matter of
// real object stores, and an environment that needs it has one.
func (s *Secrets) clusterBucket(ctx *pulumi.Context, ca *authority) error {
	access, err := s.password(ctx, "s3-access-key", "", 20)
	if err != nil {
		return err
	}
	key, err := s.password(ctx, "s3-secret-key", "", 40)
	if err != nil {
		return err
	}
	if err := s.store(ctx, "s3", nameS3, pulumi.StringMap{
		"access-key": access, "secret-key": key, "tls.crt": s.s3.Cert, "tls.key": s.s3.Key,
	}); err != nil {
		return err
	}
	for _, name := range sortedKeys(bucketSecrets) {
		if err := s.store(ctx, name, bucketSecrets[name], pulumi.StringMap{"access-key": access, "secret-key": key, "ca.crt": ca.Cert}); err != nil {
			return err
		}
	}
	return nil
}

// bucketSecrets are the Secrets that open the bucket, each with the component that mounts it.
var bucketSecrets = map[string]string{"bucket-operator": nameRestore, "bucket-writer": nameBackup, "bucket-pruner": namePrune}

// bucket makes the Secrets of an S3 endpoint whose credentials were given. On AWS pods have roles instead.
func (s *Secrets) bucket(ctx *pulumi.Context) error {
	b := s.scope.Settings.Bucket
	if b.Kind != environment.BucketS3 {
		return nil
	}
	given := map[string]environment.Credentials{"bucket-operator": b.Operator, "bucket-writer": b.Writer, "bucket-pruner": b.Pruner}
	for _, name := range sortedKeys(given) {
		c := given[name]
		values := pulumi.StringMap{
			"access-key": secret(pulumi.String(c.AccessKey)), "secret-key": secret(pulumi.String(c.SecretKey.Reveal())),
		}
		if b.CA != "" {
			values["ca.crt"] = pulumi.String(b.CA)
		}
		if err := s.store(ctx, name, bucketSecrets[name], values); err != nil {
			return err
		}
	}
	return nil
}

// valkey makes its access list: one user, with a password.
func (s *Secrets) valkey(ctx *pulumi.Context) error {
	return s.store(ctx, "valkey", nameValkey, pulumi.StringMap{
		"password": s.cache, "users.acl": pulumi.Sprintf("user default on >%s ~* &* +@all\n", s.cache),
	})
}

// password is the one that was given, or one made of letters and digits, which needs no escaping anywhere. One is made in either case: what is
// protected cannot be taken away by whoever gives one later.
func (s *Secrets) password(ctx *pulumi.Context, name string, given environment.Secret, length int) (pulumi.StringOutput, error) {
	made, err := random.NewRandomPassword(ctx, name, &random.RandomPasswordArgs{
		Length: pulumi.Int(length), Special: pulumi.Bool(false),
	}, s.opts...)
	if err != nil {
		return pulumi.StringOutput{}, err
	}
	if given != "" {
		return secret(pulumi.String(given.Reveal())), nil
	}
	return secret(made.Result), nil
}

// store makes a Secret.
func (s *Secrets) store(ctx *pulumi.Context, name, component string, values pulumi.StringMap) error {
	s.Entries[name] = values
	_, err := corev1.NewSecret(ctx, name, &corev1.SecretArgs{
		Metadata: s.scope.meta(name, component), Type: pulumi.String("Opaque"), StringData: values,
	}, s.opts...)
	return err
}

// names are what a service of the environment is called inside the cluster.
func names(s environment.Settings, service string) []string {
	return []string{host(s, service), fmt.Sprintf("%s.%s.svc", service, s.Namespace), service, "localhost"}
}
