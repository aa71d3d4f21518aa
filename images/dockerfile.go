package images

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// stage is the last stage of a Dockerfile: what the image is made of, and how it is configured.
type stage struct {
	config v1.Config
	copies []copied
}

// copied is one COPY --from=build.
type copied struct{ from, to string }

// readStage reads the last stage. It knows what an image on scratch can say and refuses the rest, so that nothing which Docker
// would do is left out of a packed image.
func readStage(file string, args map[string]string) (stage, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return stage{}, err
	}
	var s stage
	var found bool
	lines := strings.Split(strings.ReplaceAll(string(text), "\\\n", " "), "\n")
	for i, line := range lines {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		if word == "FROM" {
			s, found = stage{}, rest == "scratch"
			continue
		}
		if !found {
			continue
		}
		if err := s.instruction(word, strings.TrimSpace(rest), args); err != nil {
			return stage{}, fmt.Errorf("%s, instruction %d: %s: %w", file, i+1, line, err)
		}
	}
	if !found {
		return stage{}, fmt.Errorf("%s: the last stage is not FROM scratch", file)
	}
	return s, nil
}

func (s *stage) instruction(word, rest string, args map[string]string) (err error) {
	switch word {
	case "ARG": // its value is given
	case "COPY":
		fields := strings.Fields(rest)
		if len(fields) != 3 || fields[0] != "--from=build" || !path.IsAbs(fields[1]) || !path.IsAbs(fields[2]) {
			return fmt.Errorf("want COPY --from=build /from /to")
		}
		s.copies = append(s.copies, copied{fields[1], fields[2]})
	case "USER":
		s.config.User = rest
	case "ENTRYPOINT":
		err = json.Unmarshal([]byte(rest), &s.config.Entrypoint)
	case "CMD":
		err = json.Unmarshal([]byte(rest), &s.config.Cmd)
	case "ENV":
		s.config.Env = append(s.config.Env, strings.Fields(rest)...)
	case "EXPOSE":
		s.config.ExposedPorts = map[string]struct{}{}
		for port := range strings.FieldsSeq(rest) {
			s.config.ExposedPorts[port+"/tcp"] = struct{}{}
		}
	case "HEALTHCHECK":
		s.config.Healthcheck, err = healthcheck(rest)
	case "LABEL":
		s.config.Labels, err = labels(rest, args)
	default:
		err = fmt.Errorf("the packer does not know this instruction")
	}
	return err
}

func healthcheck(text string) (*v1.HealthConfig, error) {
	if text == "NONE" {
		return &v1.HealthConfig{Test: []string{"NONE"}}, nil
	}
	options, command, ok := strings.Cut(text, "CMD ")
	if !ok {
		return nil, fmt.Errorf("want HEALTHCHECK … CMD […]")
	}
	check := &v1.HealthConfig{}
	for option := range strings.FieldsSeq(options) {
		name, value, _ := strings.Cut(option, "=")
		var err error
		switch name {
		case "--interval":
			check.Interval, err = time.ParseDuration(value)
		case "--timeout":
			check.Timeout, err = time.ParseDuration(value)
		case "--start-period":
			check.StartPeriod, err = time.ParseDuration(value)
		case "--retries":
			_, err = fmt.Sscan(value, &check.Retries)
		default:
			err = fmt.Errorf("%s is not known", name)
		}
		if err != nil {
			return nil, err
		}
	}
	var words []string
	if err := json.Unmarshal([]byte(command), &words); err != nil {
		return nil, err
	}
	check.Test = append([]string{"CMD"}, words...)
	return check, nil
}

// labels reads name="value" pairs, with $NAME in a value.
func labels(text string, args map[string]string) (map[string]string, error) {
	all := map[string]string{}
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		name, rest, ok := strings.Cut(text, `="`)
		value, after, ended := strings.Cut(rest, `"`)
		if !ok || !ended {
			return nil, fmt.Errorf(`want name="value"`)
		}
		all[name] = os.Expand(value, func(arg string) string { return args[arg] })
		text = after
	}
	return all, nil
}
