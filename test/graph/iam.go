package graph

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// IAM's policy documents, evaluated as IAM evaluates them: an explicit Deny wins, then an Allow, otherwise no. An operator of a
// condition that is not known here is an error, never a guess.

// Document is a policy document.
type Document struct {
	Statement []Statement
}

// Statement of a document.
type Statement struct {
	Sid       string
	Effect    string
	Principal principals
	Action    oneOrMore
	NotAction oneOrMore
	Resource  oneOrMore
	Condition map[string]map[string]oneOrMore
}

type oneOrMore []string

// UnmarshalJSON takes a text or a list.
func (o *oneOrMore) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*o = oneOrMore{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(o))
}

type principals struct {
	given   bool
	AWS     oneOrMore
	Service oneOrMore
}

// UnmarshalJSON takes "*" or a map.
func (p *principals) UnmarshalJSON(text []byte) error {
	p.given = true
	if string(text) == `"*"` {
		p.AWS = oneOrMore{"*"}
		return nil
	}
	var m struct{ AWS, Service oneOrMore }
	err := json.Unmarshal(text, &m)
	p.AWS, p.Service = m.AWS, m.Service
	return err
}

// ReadDocument reads a policy document, from text or from a value.
func ReadDocument(v any) (Document, error) {
	var d Document
	text, ok := Reveal(v).(string)
	if !ok {
		return d, fmt.Errorf("a policy document is a %T, not text", v)
	}
	err := json.Unmarshal([]byte(text), &d)
	if err == nil && len(d.Statement) == 0 {
		err = fmt.Errorf("the policy says nothing")
	}
	return d, err
}

// Request is what somebody asks AWS for.
type Request struct {
	Principal string // ARN of a role
	Action    string
	Resource  string
	Context   map[string]string // e.g. aws:SecureTransport
}

// Decide says whether a request is allowed by the identity's policies and the resource's.
func Decide(r Request, identity, resource []Document) (bool, error) {
	allowed := false
	for i, documents := range [][]Document{identity, resource} {
		for _, d := range documents {
			for _, s := range d.Statement {
				applies, err := s.applies(r, i == 1)
				if err != nil {
					return false, err
				}
				if applies && s.Effect == "Deny" {
					return false, nil
				}
				allowed = allowed || applies
			}
		}
	}
	return allowed, nil
}

func (s Statement) applies(r Request, ofResource bool) (bool, error) {
	if ofResource && !s.Principal.includes(r.Principal) {
		return false, nil
	}
	if s.NotAction != nil && fitsAny(s.NotAction, r.Action, true) || s.Action != nil && !fitsAny(s.Action, r.Action, true) {
		return false, nil
	}
	if s.Resource != nil && !fitsAny(s.Resource, r.Resource, false) {
		return false, nil
	}
	for operator, keys := range s.Condition {
		for key, values := range keys {
			holds, err := holds(operator, key, values, r)
			if err != nil || !holds {
				return false, err
			}
		}
	}
	return true, nil
}

func (p principals) includes(arn string) bool {
	return slices.ContainsFunc(p.AWS, func(a string) bool { return a == "*" || a == arn || a == "arn:aws:iam::"+accountOf(arn)+":root" }) ||
		slices.ContainsFunc(p.Service, func(a string) bool { return a == arn })
}

func accountOf(arn string) string {
	if parts := strings.Split(arn, ":"); len(parts) > 4 {
		return parts[4]
	}
	return ""
}

func holds(operator, key string, values []string, r Request) (bool, error) {
	got, present := r.Context[key]
	if key == "aws:PrincipalArn" {
		got, present = r.Principal, true
	}
	base, ifExists := strings.CutSuffix(operator, "IfExists")
	if ifExists && !present {
		return true, nil
	}
	equal := func(like bool) bool {
		return present && slices.ContainsFunc(values, func(v string) bool { return v == got || like && wildcard(v, got) })
	}
	switch base {
	case "StringEquals", "Bool":
		return equal(false), nil
	case "ArnEquals", "ArnLike", "StringLike":
		return equal(true), nil
	case "StringNotEquals":
		return !equal(false), nil
	case "ArnNotEquals", "ArnNotLike", "StringNotLike":
		return !equal(true), nil
	case "Null":
		return slices.Contains(values, strconv.FormatBool(!present)), nil
	case "NumericLessThan":
		number, err := strconv.ParseFloat(got, 64)
		if !present || err != nil {
			return false, nil //nolint:nilerr // what is no number is less than none
		}
		limit, err := strconv.ParseFloat(values[0], 64)
		return number < limit, err
	}
	return false, fmt.Errorf("condition operator %s is not known to test/graph/iam.go", operator)
}

func fitsAny(patterns []string, s string, fold bool) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if fold {
			p, s = strings.ToLower(p), strings.ToLower(s)
		}
		return wildcard(p, s)
	})
}

// wildcard matches * for any text and ? for one letter.
func wildcard(pattern, s string) bool {
	for i := range len(pattern) {
		switch {
		case pattern[i] == '*':
			for j := i; j <= len(s); j++ {
				if wildcard(pattern[i+1:], s[j:]) {
					return true
				}
			}
			return false
		case i >= len(s) || pattern[i] != '?' && pattern[i] != s[i]:
			return false
		}
	}
	return len(pattern) == len(s)
}
