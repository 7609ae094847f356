# The commands of the project. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench build release

help: ## List the commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Find, explain, fix under approval and prove one real database fault (YES=1 approves by itself)
	@scripts/ensure build postgres
	@cargo build --package reeve
	@scripts/demo

test: ## Install what the tests need and run them all
	@scripts/ensure build postgres tests
	@scripts/test

lint: ## Formatting and clippy, as CI runs them
	@scripts/ensure build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

bench: ## Print every figure (release build; takes a while)
	@scripts/ensure build postgres
	@scripts/bench

build: ## Build the program for development: target/debug/reeve
	@scripts/ensure build
	cargo build --package reeve

release: ## Build the program for use: target/release/reeve
	@scripts/ensure build
	cargo build --release --package reeve
