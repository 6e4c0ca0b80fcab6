# `make suites` proves the documented networks on this machine's kernel; `make test` checks netverify itself.
# Both set up everything they need first (tools/setup): system packages, .venv, the locked dependencies.
#
#   PYTHON=python3.12    the Python to build .venv with (default: the first one found that is new enough)
#   PYTEST_ARGS='-n 2'   passed on to pytest
#   RELEASES=bookworm    the Debian releases whose engines `make engines` compares (default: all three)
#   RUNS=50              how often `make soak` runs the suites
#   SECONDS=60           how long `make fuzz` works on each target; TARGETS='save nft' names some of them
#   PACKETS=100000       how many packets `make fidelity` judges
#   SEED=42              judges what it judged with that seed once more
#   RECORD=yes           `make bench` keeps its figures in benchmarks/README.md

PYTHON ?=
PYTEST_ARGS ?=
RELEASES ?=
RUNS ?= 50
SECONDS ?= 60
TARGETS ?=
PACKETS ?= 100000
SEED ?=

BIN := .venv/bin
# Debian keeps iptables, nft and ip where an ordinary user's PATH does not look.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

.DEFAULT_GOAL := help
.PHONY: help suites docker-page engines test lint types unit format golden lock soak fidelity fuzz bench clean

help: ## show the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

suites: .venv/ready ## prove every documented network with real packets
	$(BIN)/pytest suites/ $(PYTEST_ARGS)

docker-page: .venv/ready ## ask all labs of Docker's generations, and write docs/docker-generations.md anew
	$(BIN)/python -m suites.docker.page

engines: .venv/ready ## compare with real Docker engines, fetched from Debian (root)
	$(BIN)/python tools/engines.py $(RELEASES)

test: lint types unit ## check netverify itself: lint, types, tests

# What looks at the machine from outside must not be inside the sandbox that the other tests run in.
unit: .venv/ready ## run tests/ alone
	$(BIN)/pytest tests/ --ignore tests/outside $(PYTEST_ARGS)
	$(BIN)/pytest tests/outside -o netverify_sandbox=false

lint: .venv/ready ## ruff's rules and format, and the import rule
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo

types: .venv/ready ## mypy, strict, on netverify/
	$(BIN)/mypy

format: .venv/ready ## let ruff rewrite what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

golden: .venv/ready ## rewrite tests/golden/ from what the code says now
	$(BIN)/pytest tests/ --update-golden $(PYTEST_ARGS)

lock: ## resolve the dependencies anew into requirements.lock
	tools/lock '$(PYTHON)'

soak: .venv/ready ## run the suites RUNS times and compare the outcomes
	$(BIN)/python tools/soak.py --runs $(RUNS) -- $(PYTEST_ARGS)

fidelity: .venv/ready ## judge the model by the kernel: PACKETS random packets through random rules
	$(BIN)/python tools/fidelity.py --packets $(PACKETS) $(if $(SEED),--seed $(SEED))

fuzz: .venv/ready ## look for inputs that break a parser or the evaluator, SECONDS for each of TARGETS
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-fuzz.lock
	$(BIN)/python -m fuzz --seconds $(SECONDS) $(TARGETS)

bench: .venv/ready ## measure against peers (RECORD=yes: keep the figures in benchmarks/README.md)
	@set -e; for file in benchmarks/[!_]*.py; do \
		echo "== $$file"; $(BIN)/python "$$file" $(if $(RECORD),--record); \
	done

clean: ## remove the environment, caches and what runs left in reports/
	rm -rf .venv .lock-venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find reports -mindepth 1 ! -name README.md -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/ready: pyproject.toml requirements.lock tools/setup
	tools/setup '$(PYTHON)'
