# The commands of the project. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help up demo test test-postgres lint bench build release

help: ## List the commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Find, explain, fix under approval and prove one real database fault (YES=1 approves by itself)
	@scripts/ensure build postgres
	@cargo build --package reeve
	@scripts/demo

# With Docker the first start also makes the images of two templates; `scripts/images` makes all four.
WITH_DOCKER = $(findstring docker,$(ARGS))

up: ## Build and start Reeve; it prints a link that signs you in (ARGS="--driver docker" for Docker)
	@scripts/ensure build sandbox $(if $(WITH_DOCKER),docker debootstrap)
	@cargo build --package reeve --package reeve-runtime
	@$(if $(WITH_DOCKER),scripts/static-runtime && scripts/images --missing base python,true)
	@target/debug/reeve up $(ARGS)

test: ## Install what the tests need and run them all
	@scripts/ensure build postgres sandbox tests web
	@scripts/test

test-postgres: ## Run the tests of databases against PostgreSQL 13, 14, 15, 16, 17 and 18 (needs npm)
	@scripts/ensure build postgres sandbox tests
	@scripts/postgres-versions test

lint: ## Formatting and clippy, as CI runs them
	@scripts/ensure build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

bench: ## Print every figure (release build; takes a while)
	@scripts/ensure build postgres sandbox proxy
	@scripts/bench

build: ## Build the programs for development: target/debug/reeve and reeve-runtime
	@scripts/ensure build
	cargo build --package reeve --package reeve-runtime

release: ## Build the programs for use: target/release/reeve and reeve-runtime
	@scripts/ensure build
	cargo build --release --package reeve --package reeve-runtime
