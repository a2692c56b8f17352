# Tollgate. `make` lists the targets.

# dev builds soonest; PROFILE=release is what to measure and to run for real.
PROFILE ?= dev

.DEFAULT_GOAL := help
.PHONY: help run test test-api-fuzz lint bench bench-billing seed up down

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

run: ## Start the service on http://127.0.0.1:8080 with its data in ./data: nothing else is needed
	@cargo run --profile $(PROFILE) -p tollgate-api --bin tollgate-api

test: ## Run every test against real servers (PostgreSQL and Redis are installed if they are missing)
	@.ci/test

test-api-fuzz: ## Drive the API with Schemathesis on both stacks, with all its checks (it is installed in target/)
	@.ci/api-fuzz

lint: ## Check formatting, lints, documentation and dependencies, as CI does
	@.ci/lint

bench: ## Measure a check over HTTP beside a bare axum handler (ROWS=embedded,log,redis,hot,over,evalsha,paced)
	@.ci/bench

bench-billing: ## Measure closing a month and reading its records (KEYS=100000, RECORDS=1000000)
	@cargo build --quiet --release -p tollgate-api -p tollgate-worker -p tollgate-tests --bins
	@target/release/bench_billing

seed: ## Fill the service's database (./data unless set) with 20 keys, their history and three months of records
	@cargo run --quiet --profile $(PROFILE) -p tollgate-service --example seed

up: ## Start PostgreSQL, Redis, api and worker with Docker Compose; secrets are made on the first start
	@deploy/make-env
	docker compose up --detach --build --wait

down: ## Stop what `up` started; the volumes stay
	docker compose down
