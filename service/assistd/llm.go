package main

import (
	"github.com/smart-assistant/platform/service/server"
	"github.com/smart-assistant/platform/service/upstream"
)

// languageModel reads the settings of the model that answers, where there is one, and of the front end that asks.
func languageModel(env *environment, config *server.Config) {
	config.Upstream = upstream.Config{
		URL:            env.text("ASSISTD_LLM_URL", ""),
		Key:            env.file("ASSISTD_LLM_KEY_FILE"),
		Model:          env.text("ASSISTD_LLM_MODEL", ""),
		EmbeddingModel: env.text("ASSISTD_LLM_EMBEDDING_MODEL", ""),
		Timeout:        env.duration("ASSISTD_LLM_TIMEOUT"),
	}
	if _, err := upstream.New(config.Upstream); err != nil {
		env.problem("ASSISTD_LLM_URL, ASSISTD_LLM_MODEL: %w", err)
	}
	config.ChatKey, config.ChatUserKey = env.file("ASSISTD_CHAT_KEY_FILE"), env.file("ASSISTD_CHAT_USER_KEY_FILE")
	if (config.ChatKey == "") != (config.ChatUserKey == "") {
		env.problem("set both of ASSISTD_CHAT_KEY_FILE and ASSISTD_CHAT_USER_KEY_FILE, or none: neither key lets anybody in alone")
	}
}
