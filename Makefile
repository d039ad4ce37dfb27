# `make demo` and `make test` each work as the first command in a fresh clone.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The tests start Python many times; to compile the package each time would take minutes.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo test real pages check bench bench-real bench-streams fuzz chaos chaos-real load load-distributed package sizes docs documents fetch-documents generate format types lint clean

help:
	@echo "make demo      a live scenario against the embedded daemon, or against \$$DIGITORN_DAEMON_URL"
	@echo "make test      every check and every test"
	@echo "make real      the tests against the released daemon, which it installs in .real/; needs a CPython 3.12 or newer"
	@echo "make pages     the tests of the pages of failures, in Chromium: that of \$$CHROMIUM, or one on PATH"
	@echo "make check     lint, format, direction of imports, both type checkers, drift of the generated code"
	@echo "make bench     what the library costs beside its peers, into benchmarks/RESULTS.md; ONLY= and ROUNDS= choose,"
	@echo "               REAL_TURNS=40 adds turns on the released daemon"
	@echo "make bench-real  200 turns in a row and 200 on 200 sessions of the released daemon, and what the client adds"
	@echo "make bench-streams  threads, descriptors and memory of 200 live streams, STREAMS= of them: at the start, open, after stop"
	@echo "make fuzz      a million made-up frames, answers and acknowledgements; INPUTS= and SEED= choose"
	@echo "make chaos     20 sessions, 100,000 events and 1,000 dropped connections; SEED= chooses"
	@echo "make load      10,000 cancelled calls, 300 slow calls three times over, 260 threads on one client; CANCELS= and SEED= choose"
	@echo "make load-distributed  load tests with Locust, on a master and two workers on loopback: their tests, then a run of"
	@echo "               LOAD_SECONDS=60 with LOAD_USERS=50"
	@echo "make package   wheel, sdist, SBOM and licences into dist/, checked as an index would show them"
	@echo "make sizes     the installed size of each extra"
	@echo "make documents  generates clients of 150 public documents and holds them against these; about 20 minutes;"
	@echo "               DOCUMENTS= names parts of their names. \`make fetch-documents\` downloads them first, with npm"
	@echo "make chaos-real  the same for MINUTES=10 on the released daemon: connections are cut, the daemon is killed"
	@echo "make docs      build the site of the documentation in build/site, and check its links"
	@echo "make generate  write the generated code anew from schema/"
	@echo "make format    format the handwritten code"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@# Test processes that start together would each compile all of it.
	@$(BIN)/python -m compileall -q -j 0 src codegen
	@touch $@

demo: $(STAMP)
	@$(BIN)/python docs/examples/demo.py

# More workers than cores, since half of a live test is waiting; what is left at the end is shared anew.
test: check
	$(BIN)/python -m pytest -n 4 --dist worksteal -q

real: $(STAMP)
	$(BIN)/python -m pytest -p digitorn_testing.pytest_plugin --digitorn-real -n 4 --dist loadfile -q tests/real tests/live

$(VENV)/.pages: $(STAMP)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[pages]"
	@touch $@

pages: $(VENV)/.pages
	@command -v "$${CHROMIUM:-chromium}" || command -v chromium-browser || command -v google-chrome || command -v chrome \
		|| { echo "no Chromium: set CHROMIUM to one, or put it on PATH" >&2; exit 2; }
	$(BIN)/mypy tests/pages/*.py
	$(BIN)/python -m pytest -q -rP tests/pages

check: lint types
	$(BIN)/digitorn-codegen check

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(STAMP)
	$(BIN)/mypy
	$(BIN)/basedpyright --level error

$(VENV)/.bench: $(STAMP)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[bench]"
	@touch $@

REAL_TURNS ?= 0
REAL_DIR ?= .real
bench: $(VENV)/.bench
	@$(BIN)/python -m benchmarks --real-turns $(REAL_TURNS) --real-dir $(REAL_DIR) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only $(ONLY))

$(VENV)/.docs: $(STAMP)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[docs]"
	@touch $@

docs: $(VENV)/.docs
	@$(BIN)/mypy docs/hooks.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo "the site is in build/site; to read it: $(BIN)/python -m http.server --directory build/site"

STREAMS ?= 200
bench-streams: $(STAMP)
	@$(BIN)/python -m benchmarks.streams --streams $(STREAMS)

bench-real: $(STAMP)
	@$(BIN)/python -m benchmarks.real_turns

INPUTS ?= 1000000
fuzz: $(STAMP)
	@cd tests && ../$(BIN)/python -m fuzz --inputs $(INPUTS) $(if $(SEED),--seed $(SEED))

chaos: $(STAMP)
	@cd tests && ../$(BIN)/python -m chaos $(if $(SEED),--seed $(SEED))

MINUTES ?= 10
chaos-real: $(STAMP)
	@cd tests && ../$(BIN)/python -m chaos --real $(MINUTES) --real-dir $(abspath $(REAL_DIR)) $(if $(SEED),--seed $(SEED))

CANCELS ?= 10000
load: $(STAMP)
	@cd tests && ../$(BIN)/python -m load --cancels $(CANCELS) $(if $(SEED),--seed $(SEED))

# Not in $(VENV): Locust brings a pytest plugin whose fixture `session` would take the place of ours.
LOAD := .venv-load
$(LOAD)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(LOAD)
	PIP_CONSTRAINT=constraints.txt $(LOAD)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[daemon,load,pytest]" pytest-timeout
	@touch $@

LOAD_SECONDS ?= 60
LOAD_USERS ?= 50
load-distributed: $(LOAD)/.installed
	$(LOAD)/bin/python -m pytest --noconftest -c /dev/null --rootdir . -p no:locust -q tests/distributed
	$(LOAD)/bin/python docs/examples/load_distributed.py --workers 2 --users $(LOAD_USERS) --seconds $(LOAD_SECONDS)

PACKAGE := .venv-package
$(PACKAGE)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PACKAGE)
	$(PACKAGE)/bin/python -m pip install --quiet --disable-pip-version-check build twine
	@touch $@

package: $(PACKAGE)/.installed
	rm -rf dist $(PACKAGE)/all
	$(PACKAGE)/bin/python -m build --outdir dist .
	$(PACKAGE)/bin/twine check --strict dist/digitorn_testing-*
	$(PYTHON) -m venv $(PACKAGE)/all
	PIP_CONSTRAINT=constraints.txt $(PACKAGE)/all/bin/python -m pip install --quiet --disable-pip-version-check "$$(ls dist/*.whl)[all,load]"
	$(PACKAGE)/all/bin/python scripts/sbom.py dist

sizes:
	@$(PYTHON) scripts/sbom.py --sizes

fetch-documents: $(STAMP)
	@cd tests && ../$(BIN)/python -m documents.fetch

documents: $(STAMP)
	@cd tests && ../$(BIN)/python -m documents $(DOCUMENTS)

generate: $(STAMP)
	$(BIN)/digitorn-codegen generate

format: $(STAMP)
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(LOAD) $(PACKAGE) .real .documents .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
