package graph

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"
)

// Pulumi marks special values on the wire by a map with this key, and says by its value what they are.
const (
	signatureKey      = "4dabf18193072939515e22adb298388d"
	signatureSecret   = "1b47061264138c4ac30d75fd1eb44270"
	signatureResource = "5cf8f73096256a8f31e491e813e4eb8e"
	signatureOutput   = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
)

// Unknown stands for a value that the program will know only after an apply. A monitor that answers everything makes none.
type Unknown struct{}

// fromWire turns wire values into plain ones.
func fromWire(s *structpb.Struct) (map[string]any, error) {
	if s == nil {
		return map[string]any{}, nil
	}
	v, err := plain(s.AsMap())
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("properties are a %T, not a map", v)
	}
	return m, nil
}

func plain(v any) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		if sig, ok := v[signatureKey].(string); ok {
			return special(sig, v)
		}
		m := make(map[string]any, len(v))
		for k, e := range v {
			p, err := plain(e)
			if err != nil {
				return nil, err
			}
			m[k] = p
		}
		return m, nil
	case []any:
		l := make([]any, len(v))
		for i, e := range v {
			p, err := plain(e)
			if err != nil {
				return nil, err
			}
			l[i] = p
		}
		return l, nil
	case string:
		// The wire's mark of an unknown text.
		if v == "04da6b54-80e4-46f7-96ec-b56ff0331ba9" {
			return Unknown{}, nil
		}
	}
	return v, nil
}

func special(sig string, v map[string]any) (any, error) {
	switch sig {
	case signatureSecret:
		p, err := plain(v["value"])
		return Secret{p}, err
	case signatureOutput:
		p, err := plain(v["value"])
		if secret, _ := v["secret"].(bool); secret && err == nil {
			return Secret{p}, nil
		}
		return p, err
	case signatureResource:
		urn, _ := v["urn"].(string)
		return "resource:" + urn, nil
	}
	// Assets and archives: what they hold is compared by what identifies them.
	m := map[string]any{}
	for k, e := range v {
		if k != signatureKey {
			m[k] = e
		}
	}
	return m, nil
}

// toWire is the way back: secrets get their signature.
func toWire(m map[string]any) (*structpb.Struct, error) {
	wired, ok := wire(m).(map[string]any)
	if !ok {
		return nil, fmt.Errorf("outputs are no map")
	}
	return structpb.NewStruct(wired)
}

func wire(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = wire(e)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, e := range v {
			l[i] = wire(e)
		}
		return l
	case Secret:
		return map[string]any{signatureKey: signatureSecret, "value": wire(v.Value)}
	}
	return v
}

// walk calls visit for every leaf, with its path in dots; secret says whether a Secret is around it.
func walk(v any, path string, secret bool, visit func(path string, leaf any, secret bool)) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			walk(e, strings.TrimPrefix(path+"."+k, "."), secret, visit)
		}
	case []any:
		for i, e := range v {
			walk(e, fmt.Sprintf("%s[%d]", path, i), secret, visit)
		}
	case Secret:
		walk(v.Value, path, true, visit)
	default:
		visit(path, v, secret)
	}
}
