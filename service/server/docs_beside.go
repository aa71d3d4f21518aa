package server

import (
	"fmt"
	"net/http"
	"slices"
)

// What is in no OpenAPI document: routes whose form others have set, and those that are about the replica and not about the user.
var (
	models = docsGroup{
		Name: "models", About: "For clients of OpenAI's API: the base URL ends in /v1, and the API key is an access token. Errors look as OpenAI's do.",
		Operations: []docsOperation{
			beside("list-models", "/v1/models", "List the models", "Those that this service answers as.").private(http.MethodGet),
			beside("get-model", "/v1/models/*", "Read a model", "By its id, which may hold slashes.").private(http.MethodGet),
			beside("chat", "/v1/chat/completions", "Converse", "Streams where the request says so; knows the user's mail, jobs and briefings.").private(http.MethodPost),
			beside("embed", "/v1/embeddings", "Make embeddings", "Of texts, by the language model's server where one is configured.").private(http.MethodPost),
		},
	}
	itself = docsGroup{
		Name: "service", About: "What a replica says of itself, and its pages.",
		Operations: []docsOperation{
			beside("health", "/health", "Is it alive?", "200 as long as the process answers."),
			beside("ready", "/ready", "Should it get requests?", "200, or 503 with the reason: it is shutting down, or the database is away or has another schema."),
			beside("version", "/version", "Which build is it?", "Version, commit, replica, and the schema that it expects."),
			beside("openapi", "/openapi.json", "This API as OpenAPI 3.1", ""),
			beside("tools-openapi", "/tools/openapi.json", "The tools as OpenAPI 3.1", "For tool servers of Open WebUI."),
			beside("docs", "/docs", "This page", ""),
			beside("docs-style", "/docs/style.css", "Its style sheet", ""),
			beside("page-verify", "/account/verify", "Where the link in a mail leads that proves an address", ""),
			beside("page-reset", "/account/reset", "Where the link in a mail leads that sets a new password", ""),
			beside("page-script", "/account/page.js", "The script of these two pages", ""),
		},
	}
)

func beside(id, path, summary, about string) docsOperation {
	return docsOperation{ID: id, Method: http.MethodGet, Path: path, Summary: summary, About: about}
}

// private is the operation by another method, for those who are logged in.
func (o docsOperation) private(method string) docsOperation {
	o.Method, o.Private = method, true
	return o
}

// mustHave is for chi.Walk.
func (d docs) mustHave(method, path string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
	for _, group := range d.Groups {
		if slices.ContainsFunc(group.Operations, func(o docsOperation) bool { return o.Method == method && o.Path == path }) {
			return nil
		}
	}
	return fmt.Errorf("the documentation says nothing of %s %s", method, path)
}
