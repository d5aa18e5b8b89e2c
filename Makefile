# Everything lives in the checkout: uv in .tools/, the locked environment in .venv/. Nothing global.
.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin

.PHONY: help setup demo test check unit peers deep picture bench bench-gateway soak lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' Makefile

setup: ## install the locked environment into the checkout
	@tools/setup.sh

demo: setup ## from a plant to a claim in under three minutes, on this machine
	@$(BIN)/ullage-plant demo $(DEMO)

test: setup ## install what the tests need, check and run everything (under 10 minutes)
	@tools/debian.sh mosquitto chromium fonts-noto-cjk
	@$(MAKE) --no-print-directory check unit

check: setup ## lint, format, types, import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: setup
	$(BIN)/pytest -q --doctest-modules --durations=10

deep: peers ## what takes longer: foreign servers, then five minutes among misbehaving devices
	@$(MAKE) --no-print-directory soak MINUTES=5

peers: setup ## the field clients against servers that others wrote (installs them into .peers/)
	@tools/peers.sh
	$(BIN)/pytest -q --durations=10 tests/peers

picture: setup ## the live page as docs/page.png, from a demo of its own (needs chromium)
	@$(BIN)/ullage-plant demo --picture docs/page.png

bench: setup ## cost of reading Modbus and OPC UA beside peers; with DATA=folder of histories, detection figures
	@tools/debian.sh gcc libmodbus-dev
	$(BIN)/python tests/bench/modbus_read.py
	$(BIN)/python tests/bench/opcua.py
	@test -z "$(DATA)" || $(BIN)/python tests/bench/detection.py $(DATA)

bench-gateway: setup ## the agent beside other gateways, in the same run; BENCH=--help for its options
	@$(BIN)/python tests/bench/gateway $(BENCH)

soak: setup ## the agent among misbehaving devices; MINUTES=60
	@$(BIN)/python tests/bench/soak.py --minutes $(or $(MINUTES),5) $(SOAK)

lock: ## resolve the dependencies anew
	@tools/setup.sh && tools/lock.sh --upgrade

clean: ## remove what was installed and made
	rm -rf .venv .tools .peers .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
