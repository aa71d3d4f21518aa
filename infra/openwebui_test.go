package infra

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// started is what Open WebUI would find when start.py starts it, written down by a uvicorn of ours.
type started struct {
	App         string            `json:"app"`
	Options     map[string]any    `json:"options"`
	Environment map[string]string `json:"environment"`
}

const fakeUvicorn = `
import json, os
def run(app, **options):
    print(json.dumps({"app": app, "options": options, "environment": dict(os.environ)}))
`

// startOpenWebUI runs start.py as the pod does, with these secrets.
func startOpenWebUI(t *testing.T, secrets map[string]string) (started, error) {
	t.Helper()
	folder := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("uvicorn.py", fakeUvicorn)
	write("start.py", openWebUIStart)
	for name, text := range secrets {
		write(name, text)
	}
	s := monitoredSettings()
	s.OpenWebUI.Host = "chat.example.com"
	variables := openWebUISettings(s)
	variables["SECRETS_DIR"], variables["STATIC_DIR"] = folder, filepath.Join(folder, "static")
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatalf("%v: run scripts/install-test-tools.sh", err)
	}
	cmd := exec.Command(python, "start.py") //nolint:gosec // our own script
	cmd.Dir = folder
	for name, value := range variables {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	output, err := cmd.Output()
	var found started
	if err == nil {
		err = json.Unmarshal(output, &found)
	}
	return found, err
}

var openWebUISecretsOfTest = map[string]string{"webui-secret-key": "session\n", "api-key": "connection\n", "user-key": "user\n"}

func TestOpenWebUIStarts(t *testing.T) {
	found, err := startOpenWebUI(t, openWebUISecretsOfTest)
	if err != nil {
		t.Fatal(err)
	}
	if found.App != "open_webui.main:app" || found.Options["port"] != float64(openWebUIPort) || found.Options["host"] != "0.0.0.0" {
		t.Errorf("it runs %s with %v", found.App, found.Options)
	}
	for name, want := range map[string]string{
		"WEBUI_SECRET_KEY": "session", "OPENAI_API_KEYS": "connection", "FORWARD_USER_INFO_HEADER_JWT_SECRET": "user",
		"ENABLE_FORWARD_USER_INFO_HEADERS": "true", "ENABLE_PERSISTENT_CONFIG": "false",
	} {
		if got := found.Environment[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// TestOpenWebUIHasTheTools: the tool server is the API, by the connection's key, and open to everybody who chats.
func TestOpenWebUIHasTheTools(t *testing.T) {
	found, err := startOpenWebUI(t, openWebUISecretsOfTest)
	if err != nil {
		t.Fatal(err)
	}
	var connections []struct {
		Type     string `json:"type"`
		URL      string `json:"url"`
		Path     string `json:"path"`
		SpecType string `json:"spec_type"`
		AuthType string `json:"auth_type"`
		Key      string `json:"key"`
		Config   struct {
			Enable       bool                `json:"enable"`
			AccessGrants []map[string]string `json:"access_grants"`
		} `json:"config"`
		Info struct {
			ID string `json:"id"`
		} `json:"info"`
	}
	if err := json.Unmarshal([]byte(found.Environment["TOOL_SERVER_CONNECTIONS"]), &connections); err != nil || len(connections) != 1 {
		t.Fatalf("%v, %d connections", err, len(connections))
	}
	c := connections[0]
	if c.Type != "openapi" || c.SpecType != "url" || c.AuthType != "bearer" || c.Key != "connection" || !c.Config.Enable || c.Info.ID == "" {
		t.Errorf("the connection is %+v", c)
	}
	if at := c.URL + "/" + c.Path; at != "http://api.assistant-prod.svc.cluster.local:8080/tools/openapi.json" {
		t.Errorf("the tools are looked for at %s", at)
	}
	everybody := []map[string]string{{"principal_type": "user", "principal_id": "*", "permission": "read"}}
	if !reflect.DeepEqual(c.Config.AccessGrants, everybody) {
		t.Errorf("granted to %v, want %v", c.Config.AccessGrants, everybody)
	}
}

func TestOpenWebUIDoesNotStartWithoutItsSecrets(t *testing.T) {
	for name, secrets := range map[string]map[string]string{
		"none": {}, "an empty one": {"webui-secret-key": "session", "api-key": " \n", "user-key": "user"},
	} {
		if found, err := startOpenWebUI(t, secrets); err == nil || strings.Contains(err.Error(), "session") {
			t.Errorf("%s: started %s, %v", name, found.App, err)
		}
	}
}
