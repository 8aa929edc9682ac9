# `make run` needs Go alone. `make test` and `make lint` install what they need.

SHELL := bash
.DEFAULT_GOAL := all

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
TOOLS   := .tools/bin

GOLANGCI_LINT := $(TOOLS)/golangci-lint-v2.15.0
GOVULNCHECK   := $(TOOLS)/govulncheck-v1.9.0

PACKAGES      := frontend/node_modules/.package-lock.json

FUZZTIME ?= 30s
BENCH    ?= .
RUNS     ?= 3

## all: format, lint and test (what plain `make` does)
.PHONY: all
all: format lint test

## run: start everything in one process, with a demo page; needs nothing else
.PHONY: run
run:
	@test -x bin/aldaba || echo 'building, a minute or two the first time'
	@$(MAKE) --silent build
	@exec bin/aldaba dev

## build: a static binary, bin/aldaba
.PHONY: build
build:
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/aldaba ./app

## test: every test: Go (with the race detector), JavaScript, and the demo page in Chromium
.PHONY: test
test: deps build
	@.ci/test

## lint: Go, JavaScript, and known vulnerabilities
.PHONY: lint
lint: $(GOLANGCI_LINT) $(GOVULNCHECK) $(PACKAGES)
	$(GOLANGCI_LINT) run --allow-parallel-runners ./... ./.ci/tally
	npm --prefix frontend run --silent lint
	npm --prefix frontend run --silent types
	@.ci/vulncheck $(GOVULNCHECK)

## format: gofumpt and Biome
.PHONY: format
format: $(GOLANGCI_LINT) $(PACKAGES)
	$(GOLANGCI_LINT) fmt
	npm --prefix frontend run --silent format

## fuzz: every fuzz target in turn, FUZZTIME each (30s)
.PHONY: fuzz
fuzz:
	@set -e; for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 50x $$package; \
		done; \
	done

## bench: the figures of docs/performance.md, pass or fail; RUNS=1 is quicker
.PHONY: bench
bench: build
	@.ci/setup redis
	@echo 'bytes of a channel beyond its name, at most 300: in the index, there with one member, and in what Redis is asked for'
	@go test -run '^$$' -bench 'IndexMemory|InterestMemory' -benchtime 1x ./hub ./hub/broker | grep B/channel
	bin/aldaba bench all --runs $(RUNS)

## gobench: the Go benchmarks; BENCH=Deliver chooses
.PHONY: gobench
gobench:
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

## deps: install what the tests need and this machine lacks
.PHONY: deps
deps: $(PACKAGES) examples/node/node_modules/.package-lock.json
	@.ci/setup

## clean: remove what was built; the tools stay
.PHONY: clean
clean:
	rm -rf bin .tools/results

## help: this list
.PHONY: help
help:
	@sed -n 's/^## //p' Makefile | sed 's/:/ /' | awk '{name = $$1; $$1 = ""; printf "  make %-8s%s\n", name, $$0}'

# A tool is installed under its version, so that a new pin is a new file.
$(GOLANGCI_LINT): TOOL := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
$(GOVULNCHECK): TOOL := golang.org/x/vuln/cmd/govulncheck
$(TOOLS)/%:
	@rm -f $(TOOLS)/$(notdir $(TOOL))-*
	GOBIN='$(CURDIR)/$(TOOLS)' go install $(TOOL)@$(lastword $(subst -, ,$*))
	@mv $(TOOLS)/$(notdir $(TOOL)) $@

# npm writes this file last. Not `npm ci`: for it a lock file that names the optional
# binaries of one platform only (Biome's) is out of step on the others.
%/node_modules/.package-lock.json: %/package-lock.json
	@.ci/setup node
	npm --prefix $* install --no-save --no-audit --no-fund
	@touch $@
