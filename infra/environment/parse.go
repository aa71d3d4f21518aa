package environment

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Parse reads the configuration of the stack with this name: Pulumi's texts by key, without the namespace ("smart-assistant:"), a section
// as JSON. A key may stand in its section or be written with dots. secret are the top-level keys whose values Pulumi keeps encrypted.
//
// An error is an *Invalid with every problem.
func Parse(name string, values map[string]string, secret []string) (Settings, error) {
	s := Settings{Name: name, Service: map[string]string{}}
	c := &checker{s: &s}
	if !validName(name) {
		c.say("stack", "is %s; want a stack whose name is letters a-z, digits and dashes, such as dev", shown(name))
	}
	t := keys(&s)
	given := c.flatten(t, values)
	c.refuseUnknown(t, given)
	c.given = given
	for _, k := range t.keys {
		value, ok := given[k.name]
		if !ok || value.text == "" {
			value.text = k.fallback
		}
		if value.text == "" && k.required {
			c.say(k.name, "is missing; want %s", k.want)
			continue
		}
		if k.isSecret && value.text != "" && !slices.Contains(secret, value.top) {
			c.say(k.name, "is in clear text; give it by: pulumi config set --secret --path 'smart-assistant:%s'", k.name)
		}
		if err := k.set(value.text); err != nil {
			c.say(k.name, "%s", err)
		}
	}
	c.check()
	if err := c.err(); err != nil {
		return Settings{}, err
	}
	return s, nil
}

// Flatten gives the configuration by dotted keys, as Parse reads it. It is for comparing environments.
func Flatten(values map[string]string) map[string]string {
	c := &checker{s: &Settings{}}
	flat := map[string]string{}
	for name, v := range c.flatten(keys(&Settings{}), values) {
		flat[name] = v.text
	}
	return flat
}

// given is a value as it was written, and the top-level key in which it stood.
type given struct{ text, top string }

// flatten takes the sections apart. What is a setting itself is left as it is, whatever its text looks like.
func (c *checker) flatten(t *table, values map[string]string) map[string]given {
	found := map[string]given{}
	add := func(name, text, top string) {
		if _, twice := found[name]; twice {
			c.say(name, "is given twice: in its section and with dots")
		}
		found[name] = given{text, top}
	}
	var walk func(name, text, top string)
	walk = func(name, text, top string) {
		var members map[string]json.RawMessage
		if t.find(name) != nil || json.Unmarshal([]byte(text), &members) != nil || members == nil {
			add(name, text, top)
			return
		}
		for _, member := range slices.Sorted(maps.Keys(members)) {
			walk(name+"."+member, plain(members[member]), top)
		}
	}
	for _, top := range slices.Sorted(maps.Keys(values)) {
		walk(top, values[top], top)
	}
	return found
}

// plain is a JSON value as the text that Pulumi would have passed for it alone.
func plain(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text // null as well: nothing was given
	}
	return string(bytes.TrimSpace(raw))
}

// refuseUnknown reports keys that no setting has, and takes those of the free sections.
func (c *checker) refuseUnknown(t *table, values map[string]given) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		section, member, nested := strings.Cut(name, ".")
		if free := t.free[section]; free != nil {
			if nested {
				(*free)[member] = values[name].text
			} else if values[name].text != "" {
				c.say(name, "is %s; want a section of variables", shown(values[name].text))
			}
			continue
		}
		if t.find(name) == nil {
			c.say(name, "%s", t.unknown(name, values[name].text))
		}
	}
}

// unknown says why a name is none of a setting.
func (t *table) unknown(name, text string) string {
	var known, below []string
	for _, k := range t.keys {
		known = append(known, k.name)
		if rest, ok := strings.CutPrefix(k.name, name+"."); ok {
			below = append(below, rest)
		}
		if strings.HasPrefix(name, k.name+".") {
			return fmt.Sprintf("is below %s, which takes one value: %s", k.name, k.want)
		}
	}
	if len(below) > 0 {
		return fmt.Sprintf("is %s; want a section with %s", shown(text), strings.Join(below, ", "))
	}
	if section, member, ok := strings.Cut(name, "."); ok {
		var beside []string
		for _, k := range known {
			if rest, ok := strings.CutPrefix(k, section+"."); ok {
				beside = append(beside, rest)
			}
		}
		if len(beside) > 0 {
			return "is not a known setting" + meant(member, beside)
		}
	}
	return "is not a known setting" + meant(name, append(known, "settings"))
}

func members(text string) []string {
	var list []string
	if json.Unmarshal([]byte(text), &list) == nil {
		return list
	}
	for m := range strings.SplitSeq(text, ",") {
		if m = strings.TrimSpace(m); m != "" {
			list = append(list, m)
		}
	}
	return list
}
