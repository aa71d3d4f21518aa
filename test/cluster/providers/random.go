package providers

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi-random/sdk/v4/go/random"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
)

const (
	lower   = "abcdefghijklmnopqrstuvwxyz"
	upper   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
	special = "!@#$%&*()-_=+[]{}<>:?"
)

// newRandom is the stand-in of pulumi-random; its randomness is real.
func newRandom(log *logger) *recorded {
	all := []string{"*"}
	return &recorded{name: "random", version: semver.Version{Major: 4, Minor: 16, Patch: 7}, log: log, resources: map[tokens.Type]recipe{
		"random:index/randomPassword:RandomPassword": {
			args: inputsOf(random.RandomPasswordArgs{}), frozen: all, secrets: []resource.PropertyKey{"result", "bcryptHash"}, make: randomText("none"),
		},
		"random:index/randomString:RandomString": {args: inputsOf(random.RandomStringArgs{}), frozen: all, make: randomText("")},
		"random:index/randomBytes:RandomBytes": {
			args: inputsOf(random.RandomBytesArgs{}), frozen: all, secrets: []resource.PropertyKey{"base64", "hex"}, make: randomBytes,
		},
		"random:index/randomId:RandomId":     {args: inputsOf(random.RandomIdArgs{}), frozen: all, make: randomID},
		"random:index/randomUuid:RandomUuid": {args: inputsOf(random.RandomUuidArgs{}), frozen: all, make: randomUUID},
	}}
}

// randomText makes a password or a string; a password's id does not tell the password.
func randomText(id resource.ID) func(made) (resource.ID, resource.PropertyMap, error) {
	return func(m made) (resource.ID, resource.PropertyMap, error) {
		text, err := characters(m.inputs)
		if err != nil {
			return "", nil, err
		}
		added := resource.PropertyMap{"result": resource.NewProperty(text)}
		if id == "" {
			return resource.ID(text), added, nil
		}
		return id, added, nil
	}
}

// characters is the text that the inputs ask for: at least so many of each class, the rest of all that are allowed, shuffled.
func characters(inputs resource.PropertyMap) (string, error) {
	flag := func(k resource.PropertyKey) bool { return !inputs.HasValue(k) || inputs[k].BoolValue() }
	number := func(k resource.PropertyKey) int {
		if !inputs.HasValue(k) {
			return 0
		}
		return int(inputs[k].NumberValue())
	}
	symbols := special
	if inputs.HasValue("overrideSpecial") {
		symbols = inputs["overrideSpecial"].StringValue()
	}
	var allowed []byte
	var text []byte
	for _, class := range []struct {
		on      bool
		minimum int
		of      string
	}{
		{flag("lower"), number("minLower"), lower},
		{flag("upper"), number("minUpper"), upper},
		{flag("numeric") && flag("number"), number("minNumeric"), digits},
		{flag("special"), number("minSpecial"), symbols},
	} {
		if class.on {
			allowed = append(allowed, class.of...)
		}
		for range class.minimum {
			text = append(text, class.of[below64(len(class.of))])
		}
	}
	length := number("length")
	if len(allowed) == 0 || len(text) > length {
		return "", fmt.Errorf("%d characters of %q with %d given ones are not to be had", length, allowed, len(text))
	}
	for len(text) < length {
		text = append(text, allowed[below64(len(allowed))])
	}
	for i := len(text) - 1; i > 0; i-- {
		j := below64(i + 1)
		text[i], text[j] = text[j], text[i]
	}
	return string(text), nil
}

// below64 is a random number under n.
func below64(n int) int {
	v, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		panic(fmt.Sprintf("no randomness: %v", err))
	}
	return int(v.Int64())
}

func raw(inputs resource.PropertyMap, key resource.PropertyKey) ([]byte, error) {
	if n := inputs[key]; n.IsNumber() && n.NumberValue() >= 1 {
		b := make([]byte, int(n.NumberValue()))
		_, err := rand.Read(b)
		return b, err
	}
	return nil, errors.New(string(key) + " must be at least 1")
}

func randomBytes(m made) (resource.ID, resource.PropertyMap, error) {
	b, err := raw(m.inputs, "length")
	if err != nil {
		return "", nil, err
	}
	return "none", resource.PropertyMap{
		"base64": resource.NewProperty(base64.StdEncoding.EncodeToString(b)),
		"hex":    resource.NewProperty(hex.EncodeToString(b)),
	}, nil
}

func randomID(m made) (resource.ID, resource.PropertyMap, error) {
	b, err := raw(m.inputs, "byteLength")
	if err != nil {
		return "", nil, err
	}
	prefix := ""
	if m.inputs.HasValue("prefix") {
		prefix = m.inputs["prefix"].StringValue()
	}
	id := base64.RawURLEncoding.EncodeToString(b)
	return resource.ID(id), resource.PropertyMap{
		"b64Std": resource.NewProperty(prefix + base64.StdEncoding.EncodeToString(b)),
		"b64Url": resource.NewProperty(prefix + id),
		"dec":    resource.NewProperty(prefix + new(big.Int).SetBytes(b).String()),
		"hex":    resource.NewProperty(prefix + hex.EncodeToString(b)),
	}, nil
}

func randomUUID(made) (resource.ID, resource.PropertyMap, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", nil, err
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	id := strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
	return resource.ID(id), resource.PropertyMap{"result": resource.NewProperty(id)}, nil
}
