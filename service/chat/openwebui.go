package chat

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Open WebUI asks the model of a conversation for small things around it: a title, tags, questions to go on with, queries for a search,
// the end of a half-written message. It sends them as conversations of one message whose text is a template (backend/open_webui/config.py,
// DEFAULT_…_PROMPT_TEMPLATE). They are recognised by how the template begins and by the element that holds the conversation, and answered
// from the conversation's own words: no model is asked, no tool runs, and an answer takes no time. The template by which it hands over
// documents (DEFAULT_RAG_TEMPLATE) begins alike and is none of them: it asks what the user asks.

// task answers one.
type task func() string

const (
	taskStart    = "### Task:"
	historyStart = "<chat_history>"
	historyEnd   = "</chat_history>"
)

// historyTasks are known by the sentence after taskStart.
var historyTasks = []struct {
	sentence *regexp.Regexp
	answer   func(history []turn) task
}{
	{begins(`Generate a concise\b.*\btitle\b.*\bsummari[sz]ing the chat`), func(h []turn) task { return jsonTask("title", title(h)) }},
	{begins(`Generate \d+-\d+ broad tags\b`), func(h []turn) task { return jsonTask("tags", tags(h)) }},
	{begins(`Suggest \d+-\d+ relevant follow-up\b`), func(h []turn) task { return jsonTask("follow_ups", followUps(h)) }},
	{begins(`Analyze the chat history\b.*\bgenerating search queries\b`), func(h []turn) task { return jsonTask("queries", queries(h)) }},
	{begins(`You are an autocompletion system\b`), func([]turn) task { return jsonTask("text", "") }},
	{begins(`Generate a detailed prompt for am? ?image generation\b`), func(h []turn) task { return jsonTask("prompt", title(h)) }},
}

var (
	emojiTask = begins(`Your task is to reflect the speaker's likely facial expression through a fitting emoji`)
	toolsTask = regexp.MustCompile(`(?s)^Available Tools: .*\bYour task is to choose and return the correct tool`)
)

func begins(expression string) *regexp.Regexp { return regexp.MustCompile("^" + expression) }

// openWebUITask recognises a task, or returns nil. A message of a user who happens to write one in the same words is answered the same
// way, which does no harm.
func openWebUITask(req *request) task {
	if len(req.Tools) > 0 || len(req.Messages) > 2 {
		return nil
	}
	first, last := req.Messages[0].String(), strings.TrimSpace(req.said())
	if toolsTask.MatchString(first) { // tools chosen by prompt instead of tool calls: ours are chosen here anyway
		return func() string { return `{"tool_calls": []}` }
	}
	if emojiTask.MatchString(last) {
		return func() string { return "💬" }
	}
	instructions, conversation, hasHistory := strings.Cut(last, historyStart)
	sentence, isTask := strings.CutPrefix(instructions, taskStart)
	if !hasHistory || !isTask {
		return nil
	}
	for _, t := range historyTasks {
		if t.sentence.MatchString(strings.TrimSpace(sentence)) {
			return t.answer(turns(conversation))
		}
	}
	return nil
}

func jsonTask(name string, value any) task {
	return func() string {
		text, _ := json.Marshal(map[string]any{name: value}) // texts and lists of texts always can be
		return string(text)
	}
}

// turn is a message in a template's history, which writes them as USER: … and ASSISTANT: ….
type turn struct{ role, text string }

var turnStart = regexp.MustCompile(`(?m)^(USER|ASSISTANT|SYSTEM|TOOL): ?`)

func turns(conversation string) (history []turn) {
	conversation, _, _ = strings.Cut(conversation, historyEnd)
	starts := turnStart.FindAllStringSubmatchIndex(conversation, -1)
	for i, at := range starts {
		end := len(conversation)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		history = append(history, turn{strings.ToLower(conversation[at[2]:at[3]]), strings.TrimSpace(conversation[at[1]:end])})
	}
	return history
}

// userSaid is what the user said first, or last, in words of the user's own.
func userSaid(history []turn, last bool) string {
	var said string
	for _, t := range history {
		if t.role != "user" {
			continue
		}
		if said = strings.TrimSpace(ownWords(t.text)); !last {
			break
		}
	}
	return said
}

const titleWords = 6

// title is the first words of what the user asked first.
func title(history []turn) string {
	words := strings.FieldsFunc(firstLine(userSaid(history, false)), func(r rune) bool { return strings.ContainsRune(" \t\"*_`#<>[]()", r) })
	text := strings.TrimRight(strings.Join(words[:min(len(words), titleWords)], " "), ".,;:!?")
	if text == "" {
		return "New chat"
	}
	text, _ = cut(text, 60)
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:]
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

// tags are the subjects of the assistant that the user's words touch.
func tags(history []turn) []string {
	var found []string
	for _, t := range history {
		if t.role != "user" {
			continue
		}
		for _, subject := range subjects {
			if subject.words.MatchString(t.text) && !slices.Contains(found, subject.tag) {
				found = append(found, subject.tag)
			}
		}
	}
	if len(found) == 0 {
		return []string{"General"}
	}
	return found[:min(len(found), 3)]
}

// queries is what the user said last: the search finds its words.
func queries(history []turn) []string {
	said, _ := cut(firstLine(userSaid(history, true)), 200)
	if said == "" {
		return []string{}
	}
	return []string{said}
}

// followUps are requests that the assistant understands, of subjects that the user has not asked about yet.
func followUps(history []turn) []string {
	asked := tags(history)
	var questions []string
	for _, subject := range subjects {
		if !slices.Contains(asked, subject.tag) {
			questions = append(questions, subject.question)
		}
	}
	return questions[:min(len(questions), 3)]
}

// subjects are what the assistant can talk about.
var subjects = []struct {
	tag, question string
	words         *regexp.Regexp
}{
	{"Interviews", "What interviews do I have?", words(`interviews?|vorstellungsgespräche?|gespräche?`)},
	{"Applications", "List my applications", words(`applications?|applied|bewerbung\pL*|beworben`)},
	{"Jobs", "What are the latest jobs?", words(`jobs?|postings?|positions?|vacanc\pL*|stellen?|stellenangebote?`)},
	{"Briefing", "What's new?", words(`briefing|what'?s new|news|summary|neues|überblick`)},
	{"Mail", "Show my latest mails", words(`e-?mails?|mails?|inbox|messages?|nachrichten?|posteingang`)},
}
