# Set-up, tests, demo. Every target prepares what it needs; "make help" lists them.

PG ?= 15
export PG PG_CONFIG
SHELL := /bin/bash

.DEFAULT_GOAL := help
.PHONY: help demo demo-stop quick test test-long test-server check-versions regression bench verify-tool install installcheck package build setup

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14
	@echo "Variables: PG=$(PG) PG_CONFIG=$(PG_CONFIG)"

demo: build ## the main job, end to end, on a throwaway server; SABOTAGE=policy must fail
	@tools/setup.sh demo
	@tools/demo.sh $(SABOTAGE)

demo-stop: ## stop and remove the server the demo left running
	@tools/cluster.sh drop demo

quick: setup ## formatting, lints, tests of the pure crates (under 90 s)
	@tools/test.sh quick

test: build ## everything a change must pass, what CI runs
	@tools/setup.sh demo test
	@tools/test.sh full

test-long: build ## the same and the tests that take minutes
	@tools/setup.sh demo test package regression fuzz
	@tools/test.sh long

test-server: build ## only the server tests; FILTER=name runs those that match
	@tools/setup.sh test
	@. tools/env.sh && CARGO_BUILD_RUSTFLAGS=$$pgrx_flags cargo test -q -p tenant_guard_tests --test main -- $(FILTER)

check-versions: setup ## compiles against every supported version of PostgreSQL, warnings are errors
	@tools/check_versions.sh

regression: build ## PostgreSQL's own regression tests with the library in the server
	@tools/setup.sh regression
	@tools/regression.sh

bench: setup ## what it costs, both sides in one run, on a release build: docs/benchmarks.md
	@tools/setup.sh demo bench
	@TENANT_GUARD_BUILD=release tools/build.sh
	@set -e; for script in $$(find benches -name '*.py' -executable | sort); do "$$script"; done
	@/usr/bin/python3 benches/table.py

verify-tool: setup ## tenant-guard-verify, which needs no database: target/release/tenant-guard-verify
	@. tools/env.sh && cargo build --release -q -p tenant_guard_verify && say "target/release/tenant-guard-verify"

install: setup ## build for release and install into the PostgreSQL of PG_CONFIG
	@tools/install.sh

installcheck: ## asks the server of PGHOST, PGPORT and PGUSER, a superuser there, whether what is installed works
	@tools/installcheck.sh

package: setup ## Debian packages and an image volume, below target/packages
	@tools/setup.sh package
	@tools/package.sh

build: setup ## the extension in a private copy of PostgreSQL
	@tools/build.sh

setup: ## install missing Debian packages and cargo-pgrx
	@tools/setup.sh build
