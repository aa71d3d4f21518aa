package environment

import "slices"

const (
	quantityText = "a Kubernetes quantity above 0, such as 250m, 512Mi or 10Gi"
	volumeText   = "a Kubernetes quantity above 0, such as 10Gi, of a new volume; an existing one grows with kubectl edit pvc"
)

// keys is every setting in the order of the documentation. A key marked knob() may differ between staging and prod; nothing else may.
func keys(s *Settings) *table {
	t := &table{free: map[string]*map[string]string{"settings": &s.Service}}
	t.choice("cluster", &s.Cluster, "", ClusterExisting, ClusterEKS).must()
	t.text("kube.context", &s.Kube.Context, "", "the name of a context in the kubeconfig", line)
	t.text("kube.kubeconfig", &s.Kube.Kubeconfig, "", "the path of a kubeconfig", line)
	t.text("namespace", &s.Namespace, "assistant-"+s.Name, "the name of a namespace: letters a-z, digits and dashes, at most 63", name).knob()
	t.flag("protect", &s.Protect, true)
	t.text("storageClass", &s.StorageClass, "", "the name of a storage class", name)
	t.aws(s)

	t.text("images.registry", &s.Images.Registry, "", "a registry and a path in it, without image name and tag", registry)
	t.text("images.postgres", &s.Images.Postgres, "pgvector/pgvector:0.8.1-pg18", imageText, image)
	t.text("images.valkey", &s.Images.Valkey, "valkey/valkey:8.1.4", imageText, image)
	t.text("images.versitygw", &s.Images.Versitygw, "versity/versitygw:v1.8.0", imageText, image)
	t.text("images.openWebUI", &s.Images.OpenWebUI, "ghcr.io/open-webui/open-webui:v0.11.4", imageText+"; Open WebUI "+oldestOpenWebUI+" or later, which signs who chats", image)

	t.text("api.host", &s.API.Host, "", "a host name, such as api.example.com", host).must().knob()
	t.count("api.replicas", &s.API.Replicas, 2, 1, 1000, "replicas at least").knob()
	t.count("api.maxReplicas", &s.API.MaxReplicas, 6, 1, 1000, "replicas at most").knob()
	t.count("api.cpuPercent", &s.API.CPUPercent, 70, 10, 1000, "% of the CPU request").knob()
	t.count("api.progressDeadline", &s.API.ProgressDeadline, 300, 2, 3600, "seconds").knob()
	t.count("api.drainSeconds", &s.API.DrainSeconds, 5, 1, 300, "seconds until every router has heard of a replica's end").knob()
	t.add(key{name: "api.egress", want: egressText, set: s.API.allow}).knob()
	t.resources("api", &s.API.Resources, Resources{CPU: "100m", CPULimit: "1", Memory: "128Mi", MemoryLimit: "256Mi"})

	t.text("database.storage", &s.Database.Storage, "20Gi", volumeText, quantity).knob()
	t.count("database.connections", &s.Database.Connections, 100, 10, 5000, "connections at most").knob()
	t.resources("database", &s.Database.Resources, Resources{CPU: "250m", CPULimit: "2", Memory: "512Mi", MemoryLimit: "1Gi"})
	t.resources("cache", &s.Cache.Resources, Resources{CPU: "50m", CPULimit: "500m", Memory: "64Mi", MemoryLimit: "128Mi"})
	t.bucket(s)

	t.choice("addons.ingress", &s.Addons.Ingress, Existing, Install, Existing)
	t.choice("addons.certManager", &s.Addons.CertManager, None, Install, Existing, None)
	t.choice("addons.monitoring", &s.Addons.Monitoring, None, Install, Existing, None)
	t.text("ingress.class", &s.Ingress.Class, "traefik", "the name of an ingress class of Traefik", name)
	t.text("ingress.namespace", &s.Ingress.Namespace, "traefik", "the namespace of the ingress controller", name)
	t.text("ingress.address", &s.Ingress.Address, "", "host:port where the ingress controller listens for HTTPS", hostPort).knob()
	t.count("ingress.rate", &s.Ingress.Rate, 50, 1, 1_000_000, "requests a second for one client").knob()
	t.count("ingress.burst", &s.Ingress.Burst, 100, 1, 1_000_000, "requests at once for one client").knob()
	t.choice("tls.from", &s.TLS.From, TLSCertManager, TLSGenerated, TLSCertManager, TLSSecret)
	t.text("tls.secret", &s.TLS.Secret, "", "the name of a TLS secret in the environment's namespace", name).knob()
	t.text("tls.issuer", &s.TLS.Issuer, "", "the name of a ClusterIssuer", name).knob()
	t.text("tls.email", &s.TLS.Email, "", "an e-mail address", email).knob()
	t.text("tls.ca", &s.TLS.CA, "", "certificates in PEM", pemCertificates).knob()
	t.monitoring(s)
	t.openWebUI(s)

	t.text("schedule.backup", &s.Schedule.Backup, "0 2 * * *", cronText, cron).knob()
	t.text("schedule.prune", &s.Schedule.Prune, "0 3 * * *", cronText, cron).knob()
	t.count("retention.keepLast", &s.Retention.KeepLast, 3, 1, 10_000, "backups kept whatever their age").knob()
	t.count("retention.daily", &s.Retention.Daily, 7, 0, 10_000, "days of which the newest backup is kept").knob()
	t.count("retention.weekly", &s.Retention.Weekly, 4, 0, 10_000, "weeks of which the newest backup is kept").knob()
	t.count("retention.preDeployDays", &s.Retention.PreDeployDays, 90, 1, 100_000, "days that the snapshot before a promotion is kept").knob()

	t.hidden("secrets.jwtKey", &s.Secrets.JWTKey, "a P-256 private key in PEM", pemPrivateKey)
	t.hidden("secrets.masterKey", &s.Secrets.MasterKey, "keys of encryption at rest, each the base64 of 32 bytes, one a line, the one that seals first", masterKeys)
	t.hidden("secrets.databasePassword", &s.Secrets.DatabasePassword, passwordText, password)
	t.hidden("secrets.backupPassword", &s.Secrets.BackupPassword, passwordText, password)
	t.hidden("secrets.superuserPassword", &s.Secrets.SuperuserPassword, passwordText, password)
	t.hidden("secrets.cachePassword", &s.Secrets.CachePassword, passwordText, password)
	t.hidden("secrets.llmKey", &s.Secrets.LLMKey, "the API key of the language model's server (settings.ASSISTD_LLM_URL)", line)
	t.hidden("secrets.googleClientSecret", &s.Secrets.GoogleClientSecret, "the secret of the client at Google (settings.ASSISTD_GOOGLE_CLIENT_ID)", line)
	t.hidden("secrets.smtpURL", &s.Secrets.SMTPURL, "the server that sends mail, smtps://user:password@host:port, or smtp:// for STARTTLS (settings.ASSISTD_MAIL_FROM)", smtpURL)
	t.hidden("secrets.oidcProviders", &s.Secrets.OIDCProviders, "OpenID providers that users may log in with, a YAML or JSON list of name, issuer, client_id and client_secret", oidcProviders)
	t.add(key{name: "release", want: "what assistctl wrote", set: func(text string) (err error) {
		s.Release, err = parseRelease(text)
		return err
	}}).knob()
	return t
}

func (t *table) bucket(s *Settings) {
	b := &s.Bucket
	t.add(key{name: "bucket", required: true, want: bucketText, set: b.choose})
	t.add(key{name: "s3.endpoint", want: "the URL of an S3 endpoint, for bucket: s3", set: b.locate}).knob()
	t.text("s3.name", &b.Name, "assistant-"+s.Name, "the name of a bucket; on AWS, whose accounts share one space of names, the default ends with the account's number", bucketName).knob()
	t.text("s3.region", &b.Region, "us-east-1", "the region of the S3 endpoint", line)
	t.flag("s3.pathStyle", &b.PathStyle, true)
	t.text("s3.ca", &b.CA, "", "certificates in PEM", pemCertificates)
	t.text("s3.storage", &b.Storage, "10Gi", volumeText, quantity).knob()
	for _, c := range []struct {
		name  string
		field *Credentials
	}{{"operator", &b.Operator}, {"writer", &b.Writer}, {"pruner", &b.Pruner}} {
		t.text("s3."+c.name+".accessKey", &c.field.AccessKey, "", "an access key of the bucket", line).knob()
		t.hidden("s3."+c.name+".secretKey", &c.field.SecretKey, "its secret key", line).knob()
	}
}

// Knobs lists the settings that may differ between staging and prod: sizes, counts, hosts, retention, names. "settings" stands for every
// member of it.
func Knobs() []string {
	found := []string{"settings"}
	for _, k := range keys(&Settings{}).keys {
		if k.isKnob {
			found = append(found, k.name)
		}
	}
	slices.Sort(found)
	return found
}
