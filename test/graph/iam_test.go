package graph

import "testing"

func TestDecide(t *testing.T) {
	const (
		writer = "arn:aws:iam::111122223333:role/writer"
		pruner = "arn:aws:iam::111122223333:role/pruner"
		object = "arn:aws:s3:::bucket/base/1"
		allow  = `{"Statement":[{"Effect":"Allow","Action":["s3:Get*","s3:DeleteObject"],"Resource":"arn:aws:s3:::bucket/*"}]}`
	)
	ask := func(principal, action string, context map[string]string) Request {
		return Request{Principal: principal, Action: action, Resource: object, Context: context}
	}
	statement := func(rest string) string {
		return `{"Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::bucket/*"],` + rest + `}]}`
	}
	for name, c := range map[string]struct {
		request            Request
		identity, resource string
		allowed            bool
	}{
		"an action that is granted":     {ask(writer, "s3:GetObject", nil), allow, "", true},
		"actions ignore case":           {ask(writer, "S3:getobject", nil), allow, "", true},
		"an action that is not":         {ask(writer, "s3:PutObject", nil), allow, "", false},
		"another resource":              {Request{writer, "s3:GetObject", "arn:aws:s3:::other/1", nil}, allow, "", false},
		"a denial wins":                 {ask(writer, "s3:GetObject", nil), allow, statement(`"Condition":{}`), false},
		"unless its condition fails":    {ask(writer, "s3:GetObject", map[string]string{"aws:SecureTransport": "true"}), allow, statement(`"Condition":{"Bool":{"aws:SecureTransport":"false"}}`), true},
		"without TLS":                   {ask(writer, "s3:GetObject", map[string]string{"aws:SecureTransport": "false"}), allow, statement(`"Condition":{"Bool":{"aws:SecureTransport":"false"}}`), false},
		"an old TLS":                    {ask(writer, "s3:GetObject", map[string]string{"s3:TlsVersion": "1.1"}), allow, statement(`"Condition":{"NumericLessThan":{"s3:TlsVersion":"1.2"}}`), false},
		"all but one role: the other":   {ask(writer, "s3:DeleteObject", nil), allow, statement(`"Condition":{"ArnNotEquals":{"aws:PrincipalArn":["` + pruner + `"]}}`), false},
		"all but one role: the one":     {ask(pruner, "s3:DeleteObject", nil), allow, statement(`"Condition":{"ArnNotEquals":{"aws:PrincipalArn":["` + pruner + `"]}}`), true},
		"both conditions must hold":     {ask(writer, "s3:GetObject", map[string]string{"k": "x"}), allow, statement(`"Condition":{"Null":{"k":"false"},"StringNotEquals":{"k":"x"}}`), true},
		"absent is not equal":           {ask(writer, "s3:GetObject", nil), allow, statement(`"Condition":{"StringNotEquals":{"k":"x"}}`), false},
		"a resource's grant":            {ask(writer, "s3:PutObject", nil), allow, `{"Statement":[{"Effect":"Allow","Principal":{"AWS":"` + writer + `"},"Action":"s3:PutObject","Resource":"*"}]}`, true},
		"a resource's grant to another": {ask(writer, "s3:PutObject", nil), allow, `{"Statement":[{"Effect":"Allow","Principal":{"AWS":"` + pruner + `"},"Action":"s3:PutObject","Resource":"*"}]}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			read := func(text string) []Document {
				if text == "" {
					return nil
				}
				d, err := ReadDocument(text)
				if err != nil {
					t.Fatal(err)
				}
				return []Document{d}
			}
			got, err := Decide(c.request, read(c.identity), read(c.resource))
			if err != nil || got != c.allowed {
				t.Errorf("allowed: %v (%v), want %v", got, err, c.allowed)
			}
		})
	}
	unknown, err := ReadDocument(statement(`"Condition":{"DateGreaterThan":{"aws:CurrentTime":"2020"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decide(ask(writer, "s3:GetObject", nil), nil, []Document{unknown}); err == nil {
		t.Error("a condition that nobody knows was guessed at")
	}
}
