package config

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// minLease is the shortest lease that survives a store that takes a second or two to answer.
const minLease = 3 * time.Second

// text is a string; rule, when there is one, says what is wrong with it.
func text(name string, target *string, fallback, doc string, rule func(string) error) key {
	return key{name: name, fallback: fallback, doc: doc, parse: func(o origin) (string, error) {
		if o.list {
			return "", errors.New("takes one value, not a list")
		}
		if rule != nil {
			if err := rule(o.text); err != nil {
				return "", err
			}
		}
		*target = o.text
		return o.text, nil
	}}
}

// file is a path: absolute, or relative to the file that names it, or to the working directory in a variable or flag.
func file(name string, target *string, fallback, doc string) key {
	return key{name: name, fallback: fallback, doc: doc, parse: func(o origin) (string, error) {
		if o.list {
			return "", errors.New("takes one path, not a list")
		}
		if o.text != "" {
			*target = absolute(o.dir, o.text)
		}
		return *target, nil
	}}
}

func count(name string, target *int, fallback, low, high int, doc string) key {
	return key{name: name, fallback: strconv.Itoa(fallback), doc: doc, parse: func(o origin) (string, error) {
		n, err := strconv.Atoi(o.text)
		if err != nil || n < low || n > high {
			return "", fmt.Errorf("is %q; a whole number from %d to %d", o.text, low, high)
		}
		*target = n
		return o.text, nil
	}}
}

func truth(name string, target *bool, fallback bool, doc string) key {
	return key{name: name, fallback: strconv.FormatBool(fallback), doc: doc, parse: func(o origin) (string, error) {
		b, err := strconv.ParseBool(o.text)
		if err != nil {
			return "", fmt.Errorf("is %q; true or false", o.text)
		}
		*target = b
		return strconv.FormatBool(b), nil
	}}
}

func duration(name string, target *time.Duration, fallback, doc string) key {
	return key{name: name, fallback: fallback, doc: doc, parse: func(o origin) (string, error) {
		d, err := ParseDuration(o.text)
		if err != nil {
			return "", fmt.Errorf("is %q; a duration such as 30s, 24h or 7d", o.text)
		}
		*target = d
		return FormatDuration(d), nil
	}}
}

// percentage demands its sign: 0.5 alone could mean a half or half a percent.
func percentage(name string, target *float64, fallback, doc string) key {
	return key{name: name, fallback: fallback, doc: doc, parse: func(o origin) (string, error) {
		number, signed := strings.CutSuffix(strings.ReplaceAll(o.text, " ", ""), "%")
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || !signed && n != 0 || !(n >= 0 && n <= 100) {
			return "", fmt.Errorf("is %q; a percentage such as 0.5%%", o.text)
		}
		*target = n / 100
		return number + "%", nil
	}}
}

func schedule(name string, target *Schedule, fallback, doc string) key {
	return key{name: name, fallback: fallback, doc: doc, parse: func(o origin) (string, error) {
		s, err := ParseSchedule(o.text)
		if err != nil {
			return "", fmt.Errorf("is %q; a time of day in UTC (02:00), an interval of at least a minute (6h, 1d) or never", o.text)
		}
		*target = s
		return s.String(), nil
	}}
}

var (
	wordForm     = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)
	settingForm  = regexp.MustCompile(`^[A-Z_][A-Z0-9_]*$`)
	postgresForm = regexp.MustCompile(`^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$`)
)

func word(s string) error {
	if !wordForm.MatchString(s) {
		return fmt.Errorf("is %q; lower-case letters, digits and hyphens, beginning with a letter, at most 31", s)
	}
	return nil
}

func nonEmpty(s string) error {
	if s == "" {
		return errors.New("is empty")
	}
	return nil
}

func oneOf(choices ...string) func(string) error {
	return func(s string) error {
		if slices.Contains(choices, s) {
			return nil
		}
		return fmt.Errorf("is %q; %s", s, strings.Join(choices, " or "))
	}
}

func address(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("is %q; a URL such as https://s3.example.com", s)
	}
	return nil
}

// settingName checks the name of an environment variable of the service.
func settingName(s string) (string, error) {
	if !settingForm.MatchString(s) {
		return "", errors.New("is not the name of an environment variable in capitals, such as ASSISTD_LOG_LEVEL")
	}
	return s, nil
}

// postgresName checks the name of a PostgreSQL setting and returns it in lower case, as PostgreSQL compares it.
func postgresName(s string) (string, error) {
	s = strings.ToLower(s)
	if !postgresForm.MatchString(s) {
		return "", errors.New("is not the name of a PostgreSQL setting, such as shared_buffers")
	}
	return s, nil
}
