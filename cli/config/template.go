package config

import _ "embed"

// Template is an assistctl.yaml that names every key with its default, all but the project as comments.
//
//go:embed template.yaml
var Template string
