package graph

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"
)

// thing is a resource of any type, so that these tests need no provider SDK.
type thing struct {
	pulumi.CustomResourceState
	Result pulumi.StringOutput `pulumi:"result"`
}

type group struct{ pulumi.ResourceState }

func capture(t *testing.T, run Run, program pulumi.RunFunc) *Graph {
	t.Helper()
	g, err := Capture(run, program)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestCaptureSeesOptionsSecretsAndOutputs(t *testing.T) {
	run := Run{Stack: "dev", Config: map[string]string{"smart-assistant:token": "a-secret-token"}, Secrets: []string{"smart-assistant:token"}}
	g := capture(t, run, func(ctx *pulumi.Context) error {
		var above group
		if err := ctx.RegisterComponentResource("assistant:platform:Database", "db", &above, pulumi.Protect(true), pulumi.RetainOnDelete(true)); err != nil {
			return err
		}
		var password, claim thing
		err := ctx.RegisterResource("random:index/randomPassword:RandomPassword", "password", pulumi.Map{"length": pulumi.Int(32)}, &password,
			pulumi.Parent(&above), pulumi.Protect(false))
		if err != nil {
			return err
		}
		err = ctx.RegisterResource("kubernetes:core/v1:Secret", "postgres", pulumi.Map{
			"kind":     pulumi.String("Secret"),
			"metadata": pulumi.Map{"name": pulumi.String("postgres"), "namespace": pulumi.String("assistant-dev")},
			"stringData": pulumi.Map{
				"password": password.Result,
				"token":    config.GetSecret(ctx, "token"),
				"url":      pulumi.Sprintf("postgres://%s@host", password.Result),
			},
		}, &claim, pulumi.Parent(&above), pulumi.DependsOn([]pulumi.Resource{&password}))
		ctx.Export("answer", pulumi.Int(42))
		ctx.Export("password", password.Result)
		return err
	})

	secret := g.Find(Object("Secret", "postgres"))
	if len(secret) != 1 {
		t.Fatalf("captured %v", g.Resources)
	}
	r := secret[0]
	if !r.Protect || !r.RetainOnDelete {
		t.Errorf("protect %v, retain %v: both are inherited", r.Protect, r.RetainOnDelete)
	}
	if g.Find(Type("random:*"))[0].Protect {
		t.Error("protect was said to be false")
	}
	if want := "urn:pulumi:dev::smart-assistant::assistant:platform:Database$kubernetes:core/v1:Secret::postgres"; r.URN != want {
		t.Errorf("URN %s, want %s", r.URN, want)
	}
	if len(r.DependsOn) == 0 || !strings.Contains(strings.Join(r.DependsOn, " "), "RandomPassword") {
		t.Errorf("depends on %v", r.DependsOn)
	}
	for _, key := range []string{"password", "token", "url"} {
		if _, ok := At(r.Inputs, "stringData").(map[string]any)[key].(Secret); !ok {
			t.Errorf("stringData.%s is %T, want a secret", key, At(r.Inputs, "stringData", key))
		}
	}
	if url := String(Reveal(r.Inputs), "stringData", "url"); url != "postgres://generated-secret-of-password-result@host" {
		t.Errorf("the url is %q", url)
	}
	if g.Outputs["answer"] != float64(42) {
		t.Errorf("outputs %v", g.Outputs)
	}
	if _, ok := g.Outputs["password"].(Secret); !ok {
		t.Errorf("output password is a %T, want a secret", g.Outputs["password"])
	}
	text, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	if i := strings.Index(string(text), `"Known"`); strings.Contains(string(text[:i]), "generated-secret") {
		t.Error("a printed graph shows a secret")
	}
}

func TestCaptureFailsWithTheProgram(t *testing.T) {
	for name, program := range map[string]pulumi.RunFunc{
		"an error that it logs": func(ctx *pulumi.Context) error { return ctx.Log.Error("replicas: want a number", nil) },
		"two of one name": func(ctx *pulumi.Context) error {
			var a, b thing
			if err := ctx.RegisterResource("x:y:Z", "same", nil, &a); err != nil {
				return err
			}
			return ctx.RegisterResource("x:y:Z", "same", nil, &b)
		},
		"a function that nobody answers": func(ctx *pulumi.Context) error {
			var result map[string]any
			return ctx.Invoke("aws:ec2/getAmi:getAmi", nil, &result)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Capture(Run{Stack: "dev"}, program); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestCaptureAnswersAReferenceToTheStackItself(t *testing.T) {
	var version any
	last := map[string]any{"environment": map[string]any{"release": map[string]any{"version": "v1"}}}
	capture(t, Run{Stack: "dev", Last: last}, func(ctx *pulumi.Context) error {
		self, err := pulumi.NewStackReference(ctx, "organization/"+Project+"/dev", nil)
		if err != nil {
			return err
		}
		out, err := self.GetOutputDetails("environment")
		version = At(out.Value, "release", "version")
		return err
	})
	if version != "v1" {
		t.Errorf("the program saw %v", version)
	}
}
