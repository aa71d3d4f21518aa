package environment

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const bucketText = "cluster (versitygw beside the service), aws (made by the stack), the URL of an S3 endpoint, or s3 with its URL in s3.endpoint"

// choose reads the setting "bucket".
func (b *Bucket) choose(text string) error {
	switch text {
	case BucketCluster, BucketAWS, BucketS3:
		b.Kind = text
		return nil
	}
	endpoint, ok := endpointURL(text)
	if !ok {
		return fmt.Errorf("is %s; want %s", shown(text), bucketText)
	}
	b.Kind, b.Endpoint = BucketS3, endpoint
	return nil
}

// locate reads the setting "s3.endpoint", which may differ between staging and prod where "bucket" may not.
func (b *Bucket) locate(text string) error {
	if text == "" {
		return nil
	}
	endpoint, ok := endpointURL(text)
	switch {
	case !ok:
		return fmt.Errorf("is %s; want the URL of an S3 endpoint, without a path", shown(text))
	case b.Endpoint != "":
		return errors.New("is given twice: bucket is a URL as well")
	}
	b.Endpoint = endpoint
	return nil
}

func endpointURL(text string) (string, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
		return "", false
	}
	return u.Scheme + "://" + u.Host, true
}

// check says what is missing or contradictory between settings that are right one by one.
func (c *checker) check() {
	c.checkCluster()
	c.checkAWS()
	c.checkBucket()
	c.checkIngress()
	c.checkMonitoring()
	c.checkOpenWebUI()
	c.checkService()
	s := c.s
	if s.API.Replicas > s.API.MaxReplicas {
		c.say("api.maxReplicas", "is %d, less than api.replicas (%d)", s.API.MaxReplicas, s.API.Replicas)
	}
	for section, r := range map[string]Resources{
		"api": s.API.Resources, "database": s.Database.Resources, "cache": s.Cache.Resources, "openWebUI": s.OpenWebUI.Resources,
	} {
		if less(r.CPULimit, r.CPU) {
			c.say(section+".cpuLimit", "is %s, less than %s.cpu (%s)", r.CPULimit, section, r.CPU)
		}
		if less(r.MemoryLimit, r.Memory) {
			c.say(section+".memoryLimit", "is %s, less than %s.memory (%s)", r.MemoryLimit, section, r.Memory)
		}
	}
	r := s.Retention
	if r.PreDeployDays > 0 && r.PreDeployDays < r.Daily {
		c.say("retention.preDeployDays", "is %d, less than retention.daily (%d): a snapshot would go before the day's backup", r.PreDeployDays, r.Daily)
	}
}

func (c *checker) checkCluster() {
	s := c.s
	switch s.Cluster {
	case ClusterExisting:
		if s.Kube.Context == "" {
			c.say("kube.context", "is missing: cluster: %s needs it, so that nothing is ever made in whichever cluster is the current one", ClusterExisting)
		}
		if s.Images.Registry == "" {
			c.say("images.registry", "is missing: cluster: %s needs the registry and path of the release's images", ClusterExisting)
		}
	case ClusterEKS:
		if s.Kube != (Kube{}) {
			c.say("kube", "contradicts cluster: %s, which makes its own; leave out kube.context and kube.kubeconfig", ClusterEKS)
		}
	}
}

func (c *checker) checkBucket() {
	b := c.s.Bucket
	roles := []struct {
		name string
		Credentials
	}{{"operator", b.Operator}, {"writer", b.Writer}, {"pruner", b.Pruner}}
	for _, r := range roles {
		at := "s3." + r.name + "."
		switch {
		case b.Kind == BucketS3 && r.AccessKey == "":
			c.say(at+"accessKey", "is missing: an S3 endpoint needs credentials of its %s", r.name)
		case b.Kind == BucketS3 && r.SecretKey == "":
			c.say(at+"secretKey", "is missing; give it by: pulumi config set --secret --path 'smart-assistant:%ssecretKey'", at)
		case b.Kind != BucketS3 && b.Kind != "" && (r.AccessKey != "" || r.SecretKey != ""):
			c.say(at+"accessKey", "contradicts bucket: %s, which makes its own; only an S3 endpoint takes credentials", b.Kind)
		}
	}
	if b.Kind == BucketS3 && b.Endpoint == "" {
		c.say("s3.endpoint", "is missing: bucket: %s needs the URL of the endpoint", BucketS3)
	}
	if b.Kind != BucketS3 && b.Kind != "" && b.Endpoint != "" {
		c.say("s3.endpoint", "contradicts bucket: %s", b.Kind)
	}
	if b.Kind == BucketAWS && c.s.Cluster == ClusterExisting {
		c.say("bucket", "is %s, which gives rights by EKS Pod Identity and needs cluster: %s; for another cluster give the URL of the bucket's endpoint", BucketAWS, ClusterEKS)
	}
	if b.Kind != BucketS3 && b.CA != "" {
		c.say("s3.ca", "contradicts bucket: %s; only an S3 endpoint takes it", b.Kind)
	}
	if b.Kind == BucketAWS && c.given["s3.name"].text == "" {
		c.s.Bucket.Name += "-" + c.s.AWS.Account // all of AWS shares one space of names
	}
	if b.Kind == BucketAWS {
		c.s.Bucket.Region, c.s.Bucket.PathStyle = c.s.AWS.Region, false
	}
}

func (c *checker) checkIngress() {
	tls, addons := c.s.TLS, c.s.Addons
	switch tls.From {
	case TLSSecret:
		if tls.Secret == "" {
			c.say("tls.secret", "is missing: tls.from: %s needs the name of a TLS secret in the environment's namespace", TLSSecret)
		}
	case TLSCertManager:
		if addons.CertManager == None {
			c.say("addons.certManager", "is %s, which contradicts tls.from: %s; want %s or %s, or tls.from: %s or %s", None, TLSCertManager, Install, Existing, TLSGenerated, TLSSecret)
		}
		switch {
		case tls.Issuer == "" && tls.Email == "":
			c.say("tls.issuer", "is missing: tls.from: %s needs the name of a ClusterIssuer, or tls.email for an issuer by ACME", TLSCertManager)
		case tls.Issuer != "" && tls.Email != "":
			c.say("tls.issuer", "contradicts tls.email: give the name of a ClusterIssuer, or the address for an issuer by ACME")
		}
	case TLSGenerated:
		if tls.CA != "" {
			c.say("tls.ca", "contradicts tls.from: %s, which makes its own", TLSGenerated)
		}
	}
	if tls.From != TLSSecret && tls.From != "" && tls.Secret != "" {
		c.say("tls.secret", "contradicts tls.from: %s", tls.From)
	}
	if tls.From != TLSCertManager && tls.From != "" {
		for key, value := range map[string]string{"tls.issuer": tls.Issuer, "tls.email": tls.Email} {
			if value != "" {
				c.say(key, "contradicts tls.from: %s; only %s takes it", tls.From, TLSCertManager)
			}
		}
	}
	if i := c.s.Ingress; i.Burst != 0 && i.Burst < i.Rate {
		c.say("ingress.burst", "is %d, less than ingress.rate (%d): a client at the rate would be refused", i.Burst, i.Rate)
	}
}

var variablePattern = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)

// Owned are the service's variables that the platform sets itself (ASSISTD_ERROR_FILE is assistctl's).
func Owned() []string {
	return []string{
		"ASSISTD_CHAT_KEY_FILE", "ASSISTD_CHAT_USER_KEY_FILE", "ASSISTD_DATABASE_URL", "ASSISTD_DATABASE_URL_FILE", "ASSISTD_ERROR_FILE",
		"ASSISTD_GOOGLE_CLIENT_SECRET_FILE", "ASSISTD_JWT_KEY_FILE", "ASSISTD_LISTEN", "ASSISTD_LLM_KEY_FILE", "ASSISTD_MAIL_DIR", "ASSISTD_MASTER_KEY_FILE",
		"ASSISTD_METRICS_LISTEN", "ASSISTD_OIDC_PROVIDERS_FILE", "ASSISTD_REPLICA", "ASSISTD_SMTP_URL", "ASSISTD_SMTP_URL_FILE", "ASSISTD_VALKEY_URL",
		"ASSISTD_VALKEY_URL_FILE",
	}
}

// checkService looks at the variables of the service.
func (c *checker) checkService() {
	for _, variable := range slices.Sorted(maps.Keys(c.s.Service)) {
		switch {
		case !variablePattern.MatchString(variable):
			c.say("settings."+variable, "is no name of a variable: want A-Z, 0-9 and _, such as ASSISTD_LOG_LEVEL")
		case slices.Contains(Owned(), variable):
			hint := ""
			if secret := secretsOf[strings.TrimSuffix(variable, "_FILE")]; secret != "" {
				hint = " and give " + secret
			}
			c.say("settings."+variable, "belongs to the platform, which sets it itself; leave it out%s", hint)
		}
	}
	c.checkPairs()
}

// secretsOf are the settings that stand for variables of the service which name a file.
var secretsOf = map[string]string{
	"ASSISTD_LLM_KEY": "secrets.llmKey", "ASSISTD_GOOGLE_CLIENT_SECRET": "secrets.googleClientSecret", "ASSISTD_SMTP_URL": "secrets.smtpURL",
	"ASSISTD_OIDC_PROVIDERS": "secrets.oidcProviders", "ASSISTD_MASTER_KEY": "secrets.masterKey", "ASSISTD_JWT_KEY": "secrets.jwtKey",
}

// checkPairs looks for what the service would not start without. A variable may also come with the release.
func (c *checker) checkPairs() {
	s := c.s
	has := func(variable string) bool {
		return s.Service[variable] != "" || s.Release != nil && s.Release.Settings[variable] != ""
	}
	if has("ASSISTD_GOOGLE_CLIENT_ID") && s.Secrets.GoogleClientSecret == "" {
		c.say("secrets.googleClientSecret", "is missing: ASSISTD_GOOGLE_CLIENT_ID needs it; give it by: pulumi config set --secret --path 'smart-assistant:secrets.googleClientSecret'")
	}
	if s.Release == nil {
		return
	}
	for secret, needs := range map[string]string{"smtpURL": "ASSISTD_MAIL_FROM", "llmKey": "ASSISTD_LLM_URL", "googleClientSecret": "ASSISTD_GOOGLE_CLIENT_ID"} {
		if c.given["secrets."+secret].text != "" && !has(needs) {
			c.say("settings."+needs, "is missing: secrets.%s is of no use without it", secret)
		}
	}
}

// less compares two quantities that are known to be right; others are complained of already.
func less(a, b string) bool {
	x, okX := amount(a)
	y, okY := amount(b)
	return okX && okY && cmp.Less(x, y)
}
