package infra

import (
	_ "embed"
	"fmt"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/smart-assistant/platform/infra/environment"
)

const (
	openWebUIPort    = 8080
	openWebUIUser    = 10001 // the image's files belong to root and are read only; any other user will do
	openWebUISecrets = "/etc/open-webui/secrets"
	openWebUIData    = "/data"
)

//go:embed files/openwebui/start.py
var openWebUIStart string

// OpenWebUI is the chat front end. It keeps users and chats in a database of its own on its volume, and talks to the API as any OpenAI client would.
type OpenWebUI struct {
	pulumi.ResourceState
}

// OpenWebUIArgs are what it needs beside the settings.
type OpenWebUIArgs struct {
	Scope
	Secrets      *Secrets
	StorageClass string // "" is the cluster's default
}

// NewOpenWebUI makes it.
func NewOpenWebUI(ctx *pulumi.Context, name string, args *OpenWebUIArgs, opts ...pulumi.ResourceOption) (*OpenWebUI, error) {
	o := &OpenWebUI{}
	if err := ctx.RegisterComponentResource(component("OpenWebUI"), name, o, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(o)
	if err := o.secrets(ctx, args); err != nil {
		return nil, fmt.Errorf("make Open WebUI's secrets: %w", err)
	}
	if err := args.account(ctx, nameOpenWebUI, parent); err != nil {
		return nil, fmt.Errorf("make Open WebUI's account: %w", err)
	}
	if err := args.service(ctx, nameOpenWebUI, "http", openWebUIPort, parent); err != nil {
		return nil, fmt.Errorf("make Open WebUI's service: %w", err)
	}
	headless := nameOpenWebUI + "-headless"
	if _, err := corev1.NewService(ctx, headless, &corev1.ServiceArgs{
		Metadata: args.unawaited(headless, nameOpenWebUI),
		Spec: &corev1.ServiceSpecArgs{
			ClusterIP: pulumi.String("None"), Selector: selector(args.Settings, nameOpenWebUI),
			Ports: corev1.ServicePortArray{servicePort("http", openWebUIPort)},
		},
	}, parent); err != nil {
		return nil, fmt.Errorf("make Open WebUI's headless service: %w", err)
	}
	if _, err := corev1.NewConfigMap(ctx, nameOpenWebUI, &corev1.ConfigMapArgs{
		Metadata: args.meta(nameOpenWebUI, nameOpenWebUI), Data: pulumi.StringMap{"start.py": pulumi.String(openWebUIStart)},
	}, parent); err != nil {
		return nil, fmt.Errorf("make Open WebUI's start script: %w", err)
	}
	if err := o.set(ctx, args, parent); err != nil {
		return nil, err
	}
	if err := args.route(ctx, routeArgs{
		name: nameOpenWebUI, component: nameOpenWebUI, host: args.Settings.OpenWebUI.Host, port: "http",
		tls: tlsSecret(args.Settings, ingressTLS), middleware: rateLimit,
	}, parent); err != nil {
		return nil, fmt.Errorf("make Open WebUI's ingress: %w", err)
	}
	return o, ctx.RegisterResourceOutputs(o, pulumi.Map{})
}

// secrets are the key that signs sessions, the one by which the API knows the connection, and the one that signs who chats.
func (o *OpenWebUI) secrets(ctx *pulumi.Context, args *OpenWebUIArgs) error {
	session, err := args.Secrets.password(ctx, "open-webui-session", "", 48)
	if err != nil {
		return err
	}
	chat := args.Secrets.chat
	return args.Secrets.store(ctx, nameOpenWebUI, nameOpenWebUI, pulumi.StringMap{
		"webui-secret-key": session, "api-key": chat.connection, "user-key": chat.user,
	})
}

func (o *OpenWebUI) set(ctx *pulumi.Context, args *OpenWebUIArgs, parent pulumi.ResourceOption) error {
	s := args.Settings
	// Its image is of 1.8 GB; at the first start it makes its database, too.
	patience := pulumi.Timeouts(&pulumi.CustomTimeouts{Create: "30m", Update: "30m"})
	_, err := appsv1.NewStatefulSet(ctx, nameOpenWebUI, &appsv1.StatefulSetArgs{
		Metadata: args.meta(nameOpenWebUI, nameOpenWebUI),
		Spec: &appsv1.StatefulSetSpecArgs{
			ServiceName: pulumi.String(nameOpenWebUI + "-headless"), Replicas: pulumi.Int(1), // its database is a file
			Selector: &metav1.LabelSelectorArgs{MatchLabels: selector(s, nameOpenWebUI)},
			Template: &corev1.PodTemplateSpecArgs{
				Metadata: args.podMeta(nameOpenWebUI, pulumi.StringMap{
					"assistant/configuration": pulumi.String(checksum(map[string]string{"start.py": openWebUIStart})),
				}),
				Spec: openWebUIPod(s),
			},
			PersistentVolumeClaimRetentionPolicy: &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicyArgs{
				WhenDeleted: pulumi.String("Retain"), WhenScaled: pulumi.String("Retain"),
			},
			VolumeClaimTemplates: corev1.PersistentVolumeClaimTypeArray{args.claim("data", nameOpenWebUI, s.OpenWebUI.Storage, args.StorageClass)},
		},
	}, args.keepsVolumes(parent, patience)...)
	if err != nil {
		return fmt.Errorf("make Open WebUI: %w", err)
	}
	return nil
}

func openWebUIPod(s environment.Settings) *corev1.PodSpecArgs {
	probe := func(period, failures int) *corev1.ProbeArgs {
		return &corev1.ProbeArgs{
			HttpGet:       &corev1.HTTPGetActionArgs{Path: pulumi.String("/health"), Port: pulumi.String("http")},
			PeriodSeconds: pulumi.Int(period), TimeoutSeconds: pulumi.Int(5), FailureThreshold: pulumi.Int(failures),
		}
	}
	return &corev1.PodSpecArgs{
		ServiceAccountName: pulumi.String(nameOpenWebUI), AutomountServiceAccountToken: pulumi.Bool(false), EnableServiceLinks: pulumi.Bool(false),
		SecurityContext: podSecurity(openWebUIUser), TerminationGracePeriodSeconds: pulumi.Int(30), TopologySpreadConstraints: spread(s, nameOpenWebUI),
		Containers: corev1.ContainerArray{corev1.ContainerArgs{
			Name: pulumi.String(nameOpenWebUI), Image: pulumi.String(s.Images.OpenWebUI), ImagePullPolicy: pulumi.String("IfNotPresent"),
			Command: texts("python3"), Args: texts("/etc/open-webui/start.py"), WorkingDir: pulumi.String("/app/backend"),
			Env:             variables(openWebUISettings(s)),
			Ports:           corev1.ContainerPortArray{containerPort("http", openWebUIPort)},
			SecurityContext: restricted(), Resources: resources(s.OpenWebUI.Resources),
			// It migrates its database and loads its models first.
			StartupProbe: probe(5, 60), LivenessProbe: probe(20, 3), ReadinessProbe: probe(10, 3),
			VolumeMounts: corev1.VolumeMountArray{
				mountReadOnly("start", "/etc/open-webui"), mountReadOnly("secrets", openWebUISecrets), mount("data", openWebUIData), mount("tmp", "/tmp"),
			},
		}},
		Volumes: corev1.VolumeArray{
			configVolume("start", nameOpenWebUI), secretVolume("secrets", nameOpenWebUI, "webui-secret-key", "api-key", "user-key"), emptyDir("tmp", "512Mi"),
		},
	}
}

// openWebUISettings are its variables. What would be saved in its database is not, or it would win over them at the next start. It fetches nothing
// from the internet, which it cannot reach: its models are in the image, at a path that the volume does not cover.
func openWebUISettings(s environment.Settings) map[string]string {
	return map[string]string{
		"ENV": "prod", "PORT": fmt.Sprint(openWebUIPort), "SECRETS_DIR": openWebUISecrets, "PYTHONDONTWRITEBYTECODE": "1",
		"DATA_DIR": openWebUIData, "HOME": "/tmp", "STATIC_DIR": "/tmp/static",

		"ENABLE_PERSISTENT_CONFIG": "false", "ENABLE_OPENAI_API": "true", "ENABLE_OLLAMA_API": "false",
		"OPENAI_API_BASE_URLS": fmt.Sprintf("http://%s:%d/v1", host(s, nameAPI), apiPort), "TOOL_SERVER_URL": fmt.Sprintf("http://%s:%d", host(s, nameAPI), apiPort),
		// Everybody sees the models, which are the service's: it says itself who may ask them, by the user token.
		"ENABLE_FORWARD_USER_INFO_HEADERS": "true", "BYPASS_MODEL_ACCESS_CONTROL": "true",

		"WEBUI_URL": "https://" + s.OpenWebUI.Host, "CORS_ALLOW_ORIGIN": "https://" + s.OpenWebUI.Host, "DEFAULT_USER_ROLE": "pending",
		"WEBUI_SESSION_COOKIE_SECURE": "true", "WEBUI_SESSION_COOKIE_SAME_SITE": "lax",
		"WEBUI_AUTH_COOKIE_SECURE": "true", "WEBUI_AUTH_COOKIE_SAME_SITE": "lax",

		"OFFLINE_MODE": "true", "HF_HUB_OFFLINE": "1", "ENABLE_VERSION_UPDATE_CHECK": "false", "RAG_EMBEDDING_MODEL_AUTO_UPDATE": "false",
		"ANONYMIZED_TELEMETRY": "false", "DO_NOT_TRACK": "true", "SCARF_NO_ANALYTICS": "true",
	}
}
