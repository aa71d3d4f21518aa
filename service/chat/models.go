package chat

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/go-chi/chi/v5"
)

// assistant is the model that is always there.
const assistant = "smart-assistant"

// upstreamOwner is what owned_by says of models that the upstream has.
const upstreamOwner = "upstream"

// model is one as OpenAI lists it.
type model struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"` // seconds since 1970
	OwnedBy string `json:"owned_by"`
}

func (s *Service) models() []model {
	models := []model{{assistant, "model", s.began.Unix(), assistant}}
	if name := s.config.Upstream.Model(); name != "" && name != assistant {
		models = append(models, model{name, "model", s.began.Unix(), upstreamOwner})
	}
	if name := s.embeddingModel(); name != "" && !slices.ContainsFunc(models, func(m model) bool { return m.ID == name }) {
		models = append(models, model{name, "model", s.began.Unix(), s.embeddingOwner()})
	}
	return models
}

// mayList lets in users, and the connection without one: Open WebUI asks for the list on nobody's behalf as well, and it holds nothing
// of anybody.
func (s *Service) mayList(w http.ResponseWriter, r *http.Request) bool {
	key, err := bearer(r)
	if err == nil && !s.isConnection(key) {
		_, err = s.identify(r)
	}
	if err != nil {
		e := asAPIError(err)
		s.logError(r.Context(), e)
		writeError(w, e)
	}
	return err == nil
}

func (s *Service) listModels(w http.ResponseWriter, r *http.Request) {
	if s.mayList(w, r) {
		writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": s.models()})
	}
}

func (s *Service) getModel(w http.ResponseWriter, r *http.Request) {
	if !s.mayList(w, r) {
		return
	}
	name := chi.URLParam(r, "*")
	if plain, err := url.PathUnescape(name); err == nil && r.URL.RawPath != "" { // chi matches the path as it came
		name = plain
	}
	for _, m := range s.models() {
		if m.ID == name {
			writeJSON(w, http.StatusOK, m)
			return
		}
	}
	writeError(w, noModel(name))
}
