package chat_test

import (
	"strings"
	"testing"
)

// The markers of Open WebUI's templates, as they stand in its backend/open_webui/config.py; the words between them are ours.
const (
	history = "\n### Chat History:\n<chat_history>\nUSER: what **interviews** do I have next week in Berlin?\nASSISTANT: Two.\n" +
		"USER: and jobs for golang?\n</chat_history>"
	titleTask = "### Task:\nGenerate a concise title summarizing the chat history.\n### Guidelines:\n- Be short.\n### Output:\nJSON format: { \"title\": \"…\" }"
)

// TestOpenWebUITasks: the small things around a conversation, for which no model is asked and no tool runs.
func TestOpenWebUITasks(t *testing.T) {
	for name, test := range map[string][2]string{
		"title":            {titleTask + history, `{"title":"What interviews do I have next"}`},
		"title with emoji": {"### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n### Output:\nJSON: { \"title\": \"…\" }" + history, `{"title":"What interviews do I have next"}`},
		"tags":             {"### Task:\nGenerate 1-3 broad tags for the themes, and some specific ones.\n\n### Output:\n{ \"tags\": [\"tag1\"] }\n" + history, `{"tags":["Interviews","Jobs"]}`},
		"follow-ups":       {"### Task:\nSuggest 3-5 relevant follow-up questions or prompts.\n### Output:\n{ \"follow_ups\": [\"1?\"] }" + history, `{"follow_ups":["List my applications","What's new?","Show my latest mails"]}`},
		"queries of a search or a retrieval": {"### Task:\nAnalyze the chat history to determine the necessity of generating search queries.\n\n### Guidelines:\n" +
			"- { \"queries\": [] } if none.\n- Today's date is: 2026-11-24.\n" + history, `{"queries":["and jobs for golang?"]}`},
		"completion": {"### Task:\nYou are an autocompletion system. Continue `<text>`.\n\n#### Example 1:\n<type>General</type>\n<text>The sun</text>\n{ \"text\": \"sets\" }\n---\n### Context:" +
			history + "\n<type>search query</type>\n<text>jobs in</text>\n#### Output:\n", `{"text":""}`},
		"image prompt":     {"### Task:\nGenerate a detailed prompt for am image generation task.\n\n### Output:\n{\n    \"prompt\": \"…\"\n}\n" + history, `{"prompt":"What interviews do I have next"}`},
		"emoji":            {"Your task is to reflect the speaker's likely facial expression through a fitting emoji.\n\nMessage: ```hi```", "💬"},
		"nothing said yet": {titleTask + "\n<chat_history>\n</chat_history>", `{"title":"New chat"}`},
		"about a document": {titleTask + "\n<chat_history>\nUSER: <context><source id=\"1\">{\"tags\": 1}</source></context> salaries\n</chat_history>", `{"title":"Salaries"}`},
	} {
		w, m := withModel(t, text("Hello"))
		if got := w.say(t, test[0]); got != test[1] {
			t.Errorf("%s: %s", name, got)
		}
		if len(m.asked) > 0 || len(w.asked) > 0 {
			t.Errorf("%s: the model was asked %d times, the parts %q", name, len(m.asked), w.asked)
		}
	}
	w, m := withModel(t, text("Hello"))
	w.chat(t, object{"messages": []object{{"role": "system", "content": "Available Tools: []\n\nYour task is to choose and return the correct tool(s). Return JSON."}, user("Query: jobs")}})
	if len(m.asked) > 0 {
		t.Error("tools were chosen by the model")
	}
}

// TestNoTask: questions that look like a task, and are the user's own.
func TestNoTask(t *testing.T) {
	rag := func(source, query string) string {
		return "### Task:\nRespond to the user query using the provided context, with citations [id].\n\n### Guidelines:\n- Be honest.\n\n" +
			"<context>\n<source id=\"1\" name=\"notes.json\">" + source + "</source>\n</context>\n\n" + query
	}
	for name, question := range map[string]string{
		"a document with a title":       rag(`{"title": "Salaries", "tags": ["a"], "queries": [], "follow_ups": []}`, "What is this about?"),
		"a document about a template":   rag("\n"+titleTask+history, "What is this about?"),
		"a document with a history":     rag("<chat_history>USER: hi</chat_history> autocompletion system", "What is this about?"),
		"a template after the question": "Look at this:\n" + titleTask + history,
		"a template without a history":  titleTask,
		"a task of the user's own":      "### Task:\nWrite a JSON object with a \"title\": key" + history,
	} {
		w, m := withModel(t, text("Hello"))
		if got := w.say(t, question); got != "Hello" || len(m.asked) != 1 {
			t.Errorf("%s: %s, and the model was asked %d times", name, got, len(m.asked))
		}
		if !strings.Contains(m.lastSeen().String(), strings.TrimSpace(question)) {
			t.Errorf("%s: the model was asked %s", name, m.lastSeen().String())
		}
	}
	w, m := withModel(t, text("Hello"))
	if w.chat(t, object{"messages": []object{{"role": "system", "content": "Available Tools: a hammer"}, user("Hi")}}); len(m.asked) != 1 {
		t.Error("a system message about tools is taken for a task")
	}
}
