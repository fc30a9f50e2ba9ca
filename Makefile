# Set-up, tests, demo. Every target prepares what it needs; "make help" lists them.

PG ?= 15
PG_CONFIG ?= /usr/lib/postgresql/$(PG)/bin/pg_config
export PG PG_CONFIG
SHELL := /bin/bash

.DEFAULT_GOAL := help
.PHONY: help quick test test-long test-server install build setup

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14
	@echo "Variables: PG=$(PG) PG_CONFIG=$(PG_CONFIG)"

quick: setup ## formatting, lints, tests of the pure crates (under 90 s)
	@tools/test.sh quick

test: build ## everything a change must pass, what CI runs
	@tools/test.sh full

test-long: build ## the same and the tests that take minutes
	@tools/test.sh long

test-server: build ## only the server tests; FILTER=name runs those that match
	@. tools/env.sh && cargo test -q -p tenant_guard_tests --test main -- $(FILTER)

install: setup ## build for release and install into the PostgreSQL of PG_CONFIG
	@tools/install.sh

build: setup ## the extension in a private copy of PostgreSQL
	@tools/build.sh

setup: ## install missing Debian packages and cargo-pgrx
	@tools/setup.sh build
