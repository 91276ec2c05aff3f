# What a developer or operator types. `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test check lint fmt bench bench-kafka bench-dynamodb campaign docs binary servers

# Cargo is found where rustup puts it, also by a shell that has not read its profile.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)
BINARY = $(or $(CARGO_TARGET_DIR),target)/release/understudy

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Set this machine up, build, and show the whole story on throw-away servers
	@dev/setup demo
	cargo build --locked --release --package understudy
	$(BINARY) demo

test: binary servers ## Run every test: unit, property, connector and end-to-end, on real servers
	dev/test all

check: ## Format, lints and the tests that need no server
	@dev/setup demo
	cargo fmt --all --check
	$(MAKE) --no-print-directory lint
	dev/test quick

lint: ## Clippy on everything, warnings as errors
	@dev/setup demo
	cargo clippy --locked --workspace --all-targets -- -D warnings

fmt: ## Format all sources
	cargo fmt --all

bench: binary servers ## Measure against Postgres' own replication, side by side
	cargo run --locked --release --package understudy-bench

bench-kafka: binary servers ## Measure the way through Kafka against Debezium with its JDBC sink, side by side
	cargo run --locked --release --package understudy-bench -- kafka

bench-dynamodb: binary servers ## Measure the way into DynamoDB Local beside a plain writer of the same rows
	cargo run --locked --release --package understudy-bench -- dynamodb

campaign: binary servers ## Properties and end-to-end tests with large counts; resumable, results in results/campaign.json
	dev/test campaign

docs: ## Write docs/reference/ anew from the code
	@dev/setup demo
	UPDATE_DOCS=1 cargo test --locked --quiet --package understudy-tests --test tidy reference

binary:
	@dev/setup test
	cargo build --locked --release --package understudy

servers:
	@dev/setup test
	@dev/servers
