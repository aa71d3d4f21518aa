#!/usr/bin/env bash
# Checks the alerts of infra/monitoring_rules.go with promtool: that the expressions are valid, and what they say of made-up series
# (infra/testdata/rules/tests.yaml). go test ./infra -update writes the file that promtool reads.
set -euo pipefail
cd "$(dirname "$0")/.."

tools/build.sh promtool
cd infra/testdata/rules
../../../bin/promtool check rules --lint=all --lint-fatal assistant.json
../../../bin/promtool test rules tests.yaml
