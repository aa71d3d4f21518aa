package environment

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// key is one setting: its dotted name in the configuration, what is expected of it and where it goes.
type key struct {
	name     string
	want     string // "a whole number from 1 to 100: …"
	fallback string
	required bool
	isKnob   bool // may differ between staging and prod
	isSecret bool
	set      func(text string) error
}

func (k *key) knob() *key   { k.isKnob = true; return k }
func (k *key) must() *key   { k.required = true; return k }
func (k *key) secret() *key { k.isSecret = true; return k }

// table is every key there is. It is built over the Settings that it fills.
type table struct {
	keys []*key
	free map[string]*map[string]string // sections with members of any name
}

func (t *table) add(k key) *key {
	t.keys = append(t.keys, &k)
	return &k
}

func (t *table) find(name string) *key {
	if i := slices.IndexFunc(t.keys, func(k *key) bool { return k.name == name }); i >= 0 {
		return t.keys[i]
	}
	return nil
}

// text is a setting that must please valid when it is given.
func (t *table) text(name string, field *string, fallback, want string, valid func(string) bool) *key {
	return t.add(key{name: name, fallback: fallback, want: want, set: func(text string) error {
		if text != "" && valid != nil && !valid(text) {
			return fmt.Errorf("is %s; want %s", shown(text), want)
		}
		*field = text
		return nil
	}})
}

// hidden is a text that is refused in clear text.
func (t *table) hidden(name string, field *Secret, want string, valid func(string) bool) *key {
	return t.add(key{name: name, want: want, set: func(text string) error {
		if text != "" && valid != nil && !valid(text) {
			return fmt.Errorf("does not fit; want %s", want)
		}
		*field = Secret(text)
		return nil
	}}).secret()
}

func (t *table) choice(name string, field *string, fallback string, values ...string) *key {
	return t.text(name, field, fallback, "one of "+strings.Join(values, ", "), func(s string) bool { return slices.Contains(values, s) })
}

func (t *table) count(name string, field *int, fallback, least, most int, what string) *key {
	want := fmt.Sprintf("a whole number from %d to %d (%s)", least, most, what)
	return t.add(key{name: name, fallback: strconv.Itoa(fallback), want: want, set: func(text string) error {
		n, err := strconv.Atoi(text)
		if err != nil || n < least || n > most {
			return fmt.Errorf("is %s; want %s", shown(text), want)
		}
		*field = n
		return nil
	}})
}

func (t *table) flag(name string, field *bool, fallback bool) *key {
	return t.add(key{name: name, fallback: strconv.FormatBool(fallback), want: "true or false", set: func(text string) error {
		if text != "true" && text != "false" {
			return fmt.Errorf("is %s; want true or false", shown(text))
		}
		*field = text == "true"
		return nil
	}})
}

// list takes a YAML list, or texts between commas.
func (t *table) list(name string, field *[]string, want string, valid func(string) bool) *key {
	return t.add(key{name: name, want: want, set: func(text string) error {
		members := members(text)
		for _, m := range members {
			if !valid(m) {
				return fmt.Errorf("holds %s; want %s", shown(m), want)
			}
		}
		*field = members
		return nil
	}})
}

func (t *table) resources(section string, field *Resources, fallback Resources) {
	t.text(section+".cpu", &field.CPU, fallback.CPU, quantityText, quantity).knob()
	t.text(section+".cpuLimit", &field.CPULimit, fallback.CPULimit, quantityText, quantity).knob()
	t.text(section+".memory", &field.Memory, fallback.Memory, quantityText, quantity).knob()
	t.text(section+".memoryLimit", &field.MemoryLimit, fallback.MemoryLimit, quantityText, quantity).knob()
}

// shown is how a wrong value stands in an error: quoted, and not at any length.
func shown(text string) string {
	if len(text) > 60 {
		text = text[:60] + "…"
	}
	return strconv.Quote(text)
}
