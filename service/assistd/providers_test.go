package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestProvidersFile: a client's secret stands in the file of providers or in one of its own, and never in both.
func TestProvidersFile(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret := write("secret", "from-its-file\n")
	const entry = "- {name: corporate, issuer: https://id.example.com, client_id: x"
	for text, want := range map[string]string{
		entry + "}":                                     "",
		entry + ", client_secret: inline}":              "inline",
		entry + ", client_secret_file: " + secret + "}": "from-its-file",
	} {
		t.Setenv("PROVIDERS", write("providers", text))
		env := &environment{}
		list := env.providers("PROVIDERS")
		if err := env.err(); err != nil || len(list) != 1 || list[0].ClientSecret != want {
			t.Errorf("%s: got %d providers, %v; want one with the secret %q", text, len(list), err, want)
		}
	}
	t.Setenv("PROVIDERS", write("providers", entry+", client_secret: inline, client_secret_file: "+secret+"}"))
	env := &environment{}
	env.providers("PROVIDERS")
	if err := env.err(); err == nil || !strings.Contains(err.Error(), "not both") || strings.Contains(err.Error(), "inline") {
		t.Errorf("two secrets: %v", err)
	}
}
