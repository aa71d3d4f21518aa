# What a developer types. `make` alone lists it.
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-print-directory --warn-undefined-variables

# What is built calls itself by this version; `git describe` names commits between two releases.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)

# Packages to test or lint:  make test PKG=./cli/ledger/... ARGS='-run TestLease -v'
PKG  ?= ./...
ARGS ?=

# "real" runs the tests on a cluster with Pulumi's own plugins.
PROVIDERS ?=

# Of `make try`: anything here ends what it started.
STOP ?=

# Of the images: where they are pushed to, and the platform of the nodes when it is not this machine's.
REGISTRY ?=
PLATFORM ?=

# Whose settings `make cluster-images` prints.
STACK ?= dev

# One set of flags for whatever links a Pulumi SDK: those packages compile for minutes, and once more for each other set.
BUILD := CGO_ENABLED=0 go build -trimpath
STAMP := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

.PHONY: help build stacks images tools demo try test cluster-up cluster-down cluster-images test-cluster lint fuzz bench bench-service generate fmt vuln clean release-check

help: ## Show this list
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Take a release from dev to prod on this machine, break it, restore it: the main job in 90 seconds
	@scripts/install-postgres.sh
	@tools/build.sh versitygw
	@mkdir -p bin
	@$(BUILD) -o bin/demo ./demo
	@bin/demo

try: ## Start the service on this machine at http://127.0.0.1:8080, to try it (make try STOP=1 ends it)
	@scripts/try.sh $(if $(STOP),stop)

test: ## Run every test that needs no cluster, with the race detector, on real PostgreSQL and S3
	@scripts/install-postgres.sh
	@scripts/install-test-tools.sh
	@tools/build.sh versitygw kube-score promtool
	@ASSISTCTL_VERSITYGW=$(CURDIR)/bin/versitygw test/leave-nothing.sh test/run.sh $(PKG) -- $(ARGS)

cluster-up: ## Start a Kubernetes cluster on this machine, for tests and for trying (root; the first time builds it, 20 minutes)
	@test/cluster/up.sh

cluster-down: ## Stop it and clean the machine; ARGS=--wipe also forgets what was in it
	@test/cluster/down.sh $(ARGS)

cluster-images: images ## Load those images into it, and print what a stack's settings say to run from them (STACK=dev)
	@test/cluster/load.sh $(STACK)

test-cluster: stacks ## Run the tests on that cluster: PROVIDERS=real uses installed plugins of Pulumi (PKG, ARGS as for test)
	@PROVIDERS=$(PROVIDERS) test/cluster/test.sh $(if $(filter-out ./...,$(PKG)),$(PKG)) -- $(ARGS)

stacks: ## Build the Pulumi program into bin/stacks, which pulumi runs
	@mkdir -p bin
	@$(BUILD) -ldflags "-s -w -X main.sources=$$(go run ./stacks/sources)" -o bin/stacks ./stacks

build: ## Build assistctl, assistd and the S3 server into bin/
	@tools/build.sh versitygw
	$(BUILD) -ldflags '$(STAMP)' -o bin/ ./cli/assistctl ./service/assistd

images: ## Make the images of assistd and assistctl into dist/images (REGISTRY=… pushes them, PLATFORM=linux/arm64 is for such nodes)
	@mkdir -p bin
	@$(BUILD) -o bin/pack ./images/pack
	@bin/pack -version '$(VERSION)' $(if $(PLATFORM),-platform '$(PLATFORM)') $(if $(REGISTRY),-registry '$(REGISTRY)')

tools: ## Build the pinned tools (tools/*/go.mod) into bin/
	@tools/build.sh versitygw golangci-lint gofumpt govulncheck

lint: ## Check style, errors and the import map
	@tools/build.sh golangci-lint
	@CGO_ENABLED=0 GOFLAGS=-trimpath bin/golangci-lint run $(PKG)
	@git ls-files -z '*.sh' .ci/run | xargs -0 -n1 bash -n

fmt: ## Format the Go code (gofumpt, imports in groups)
	@tools/build.sh golangci-lint
	@bin/golangci-lint fmt

generate: ## Generate code from SQL (sqlc) and whatever else go generate knows
	@tools/build.sh sqlc
	@PATH=$(CURDIR)/bin:$$PATH go generate $(PKG)

fuzz: ## Fuzz every fuzz test for a short while (FUZZTIME=10s each)
	@test/fuzz.sh

bench: ## Measure backup and restore beside pgBackRest, into docs/benchmarks.md (wants a quiet machine)
	@scripts/install-postgres.sh
	@scripts/install-test-tools.sh --bench
	@tools/build.sh versitygw
	@ASSISTCTL_VERSITYGW=$(CURDIR)/bin/versitygw go run ./test/bench/backup $(ARGS)

bench-service: ## Measure the service beside PocketBase and the bare query, into docs/benchmarks.md (wants a quiet machine; 15 minutes)
	@scripts/install-postgres.sh
	@tools/build.sh pocketbase
	@mkdir -p bin
	@$(BUILD) -ldflags '$(STAMP)' -o bin/ ./service/assistd
	@go run ./test/bench/service $(ARGS)

vuln: ## Look for known vulnerabilities that the code can reach
	@tools/build.sh govulncheck
	@bin/govulncheck $(PKG)

release-check: ## What must hold before a tag: modules verify, builds repeat byte for byte, lint and tests pass
	go mod verify
	@test/reproducible.sh
	@$(MAKE) lint
	@$(MAKE) test

clean: ## Remove what make built
	rm -rf bin dist
