package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/endpoints"

	"github.com/smart-assistant/platform/service/server"
	"github.com/smart-assistant/platform/service/signin"
)

// providerEntry is a provider in the file of ASSISTD_OIDC_PROVIDERS_FILE.
type providerEntry struct {
	Name             string `yaml:"name"`
	Issuer           string `yaml:"issuer"`
	ClientID         string `yaml:"client_id"`
	ClientSecret     string `yaml:"client_secret"`
	ClientSecretFile string `yaml:"client_secret_file"`
}

// logins reads who else users may log in with, and the client that asks for leave to read Gmail.
func (e *environment) logins(config *server.Config) {
	config.PublicURL = e.text("ASSISTD_PUBLIC_URL", "")
	config.ReturnTo = e.origins("ASSISTD_RETURN_TO")
	config.Providers = e.providers("ASSISTD_OIDC_PROVIDERS_FILE")
	if id := e.text("ASSISTD_GOOGLE_CLIENT_ID", ""); id != "" {
		secret := e.file("ASSISTD_GOOGLE_CLIENT_SECRET_FILE")
		if secret == "" {
			e.problem("ASSISTD_GOOGLE_CLIENT_ID is set: set ASSISTD_GOOGLE_CLIENT_SECRET_FILE to a file with its secret")
		}
		config.Providers = append(config.Providers, signin.Provider{
			Name: "google", Issuer: "https://accounts.google.com", ClientID: id, ClientSecret: secret,
		})
		endpoint := endpoints.Google
		endpoint.AuthStyle = oauth2.AuthStyleInParams
		config.Gmail = &oauth2.Config{ClientID: id, ClientSecret: secret, Endpoint: endpoint}
	}
	if len(config.Providers) > 0 && config.PublicURL == "" {
		e.problem("set ASSISTD_PUBLIC_URL, such as https://api.example.org: providers send browsers back there")
	}
}

// providers reads a file of providers. JSON is YAML too.
func (e *environment) providers(name string) []signin.Provider {
	text := e.file(name)
	if text == "" {
		return nil
	}
	var entries []providerEntry
	decoder := yaml.NewDecoder(strings.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&entries); err != nil && !errors.Is(err, io.EOF) {
		e.problem("%s: want a list of name, issuer, client_id and client_secret or client_secret_file: %w", name, err)
		return nil
	}
	var providers []signin.Provider
	for _, entry := range entries {
		secret, err := entry.secret()
		if err != nil {
			e.problem("%s: provider %q: %w", name, entry.Name, err)
		}
		providers = append(providers, signin.Provider{Name: entry.Name, Issuer: entry.Issuer, ClientID: entry.ClientID, ClientSecret: secret})
	}
	return providers
}

// secret is the client's, from here or from a file; a public client has none.
func (p providerEntry) secret() (string, error) {
	if p.ClientSecretFile == "" {
		return p.ClientSecret, nil
	}
	if p.ClientSecret != "" {
		return "", errors.New("give client_secret or client_secret_file, not both")
	}
	text, err := os.ReadFile(p.ClientSecretFile)
	if err != nil {
		return "", fmt.Errorf("read its client_secret_file: %w", err)
	}
	return string(bytes.TrimSpace(text)), nil
}
