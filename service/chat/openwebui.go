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
// DEFAULT_…_PROMPT_TEMPLATE). They are recognised by that, and answered from the conversation's own words: no model is asked, no tool
// runs, and an answer takes no time.

// task answers one.
type task func() string

var (
	titleTask     = regexp.MustCompile(`"title"\s*:|\btitle\b[^\n]*\bsummari[sz]ing the chat`)
	tagsTask      = regexp.MustCompile(`"tags"\s*:`)
	followUpsTask = regexp.MustCompile(`"follow_ups"\s*:`)
	queriesTask   = regexp.MustCompile(`"queries"\s*:`)
	completeTask  = regexp.MustCompile(`autocompletion system`)
	imageTask     = regexp.MustCompile(`prompt for am? ?image generation`)
	emojiTask     = regexp.MustCompile(`(?i)^Your task is to reflect the speaker's likely facial expression through a fitting emoji`)
	toolsTask     = regexp.MustCompile(`^Available Tools: `)
)

// openWebUITask recognises a task, or returns nil. A message of a user who happens to begin one in the same words is answered the same
// way, which does no harm.
func openWebUITask(req *request) task {
	if len(req.Tools) > 0 || len(req.Messages) > 2 {
		return nil
	}
	first, last := req.Messages[0].String(), req.said()
	if toolsTask.MatchString(first) { // tools chosen by prompt instead of tool calls: ours are chosen here anyway
		return func() string { return `{"tool_calls": []}` }
	}
	if emojiTask.MatchString(last) {
		return func() string { return "💬" }
	}
	if !strings.HasPrefix(strings.TrimSpace(last), "### Task:") {
		return nil
	}
	instructions, history := splitHistory(last)
	switch {
	case completeTask.MatchString(instructions):
		return jsonTask("text", "")
	case followUpsTask.MatchString(instructions):
		return jsonTask("follow_ups", followUps(history))
	case tagsTask.MatchString(instructions):
		return jsonTask("tags", tags(history))
	case queriesTask.MatchString(instructions):
		return jsonTask("queries", queries(history))
	case titleTask.MatchString(instructions):
		return jsonTask("title", title(history))
	case imageTask.MatchString(instructions):
		return jsonTask("prompt", title(history))
	default:
		return nil
	}
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

func splitHistory(text string) (instructions string, history []turn) {
	instructions, rest, found := strings.Cut(text, "<chat_history>")
	if !found {
		return text, nil
	}
	rest, _, _ = strings.Cut(rest, "</chat_history>")
	starts := turnStart.FindAllStringSubmatchIndex(rest, -1)
	for i, at := range starts {
		end := len(rest)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		history = append(history, turn{strings.ToLower(rest[at[2]:at[3]]), strings.TrimSpace(rest[at[1]:end])})
	}
	return instructions, history
}

// userSaid is what the user said first, or last.
func userSaid(history []turn, last bool) string {
	var said string
	for _, t := range history {
		if t.role != "user" {
			continue
		}
		if said = t.text; !last {
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
