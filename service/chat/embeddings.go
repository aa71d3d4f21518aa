package chat

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"strings"

	"github.com/smart-assistant/platform/service/upstream"
)

const (
	maxInputs    = 2048   // texts of one request, as with OpenAI
	longestInput = 65_536 // bytes of one
)

type embeddingRequest struct {
	Model          string          `json:"model"`
	Input          json.RawMessage `json:"input"`
	EncodingFormat string          `json:"encoding_format"`
	Dimensions     *int            `json:"dimensions"`
}

type embedding struct {
	Object    string `json:"object"`
	Index     int    `json:"index"`
	Embedding any    `json:"embedding"` // numbers, or the base64 of their bytes
}

// embeddings answers with the upstream's model where there is one for it, and with the service's own otherwise. One is never put in the
// place of the other: their vectors cannot be compared.
func (s *Service) embeddings(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	var req embeddingRequest
	if err := decode(body, &req); err != nil {
		return err
	}
	texts, err := req.texts()
	if err != nil {
		return err
	}
	name := s.embeddingModel()
	if name == "" || req.Model != name && req.Model != assistant {
		return noModel(req.Model)
	}
	vectors, err := s.embed(r, texts)
	if err != nil {
		return err
	}
	if req.Dimensions != nil && *req.Dimensions != len(vectors[0]) {
		return invalid("dimensions", "the model %s makes vectors of %d numbers, and no others", name, len(vectors[0]))
	}
	data := make([]embedding, len(vectors))
	tokens := 0
	for i, vector := range vectors {
		data[i] = embedding{"embedding", i, any(vector)}
		if req.EncodingFormat == "base64" {
			data[i].Embedding = packed(vector)
		}
		tokens += estimateText(texts[i])
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"object": "list", "data": data, "model": name, "usage": upstream.Usage{PromptTokens: tokens, TotalTokens: tokens},
	})
	return nil
}

// embeddingModel is the name of the model that makes embeddings, "" where there is none.
func (s *Service) embeddingModel() string {
	if name := s.config.Upstream.EmbeddingModel(); name != "" {
		return name
	}
	if s.config.Embed == nil {
		return ""
	}
	return s.config.EmbedModel
}

func (s *Service) embeddingOwner() string {
	if s.config.Upstream.EmbeddingModel() != "" {
		return upstreamOwner
	}
	return assistant
}

func (s *Service) embed(r *http.Request, texts []string) ([][]float32, error) {
	if s.config.Upstream.EmbeddingModel() != "" {
		return s.config.Upstream.Embed(r.Context(), texts)
	}
	return s.config.Embed(r.Context(), UserID(r.Context()), texts)
}

// texts is the input: one text, or several. Lists of token numbers, which OpenAI takes as well, are another model's.
func (r embeddingRequest) texts() ([]string, error) {
	if r.EncodingFormat != "" && r.EncodingFormat != "float" && r.EncodingFormat != "base64" {
		return nil, invalid("encoding_format", "encoding_format is float or base64")
	}
	var one string
	var texts []string
	if json.Unmarshal(r.Input, &one) == nil {
		texts = []string{one}
	} else if json.Unmarshal(r.Input, &texts) != nil {
		return nil, invalid("input", "input is neither a text nor a list of texts")
	}
	if len(texts) == 0 || len(texts) > maxInputs {
		return nil, invalid("input", "input holds no text, or more than %d", maxInputs)
	}
	for _, text := range texts {
		if strings.TrimSpace(text) == "" || len(text) > longestInput {
			return nil, invalid("input", "input holds an empty text, or one of more than %d bytes", longestInput)
		}
	}
	return texts, nil
}

// packed is how OpenAI packs vectors: 32-bit floats, lowest byte first, in base64.
func packed(vector []float32) string {
	bytes := make([]byte, 0, 4*len(vector))
	for _, number := range vector {
		bytes = binary.LittleEndian.AppendUint32(bytes, math.Float32bits(number))
	}
	return base64.StdEncoding.EncodeToString(bytes)
}
