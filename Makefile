# `make demo` and `make test` set up all that they need inside this checkout.
# Wanted on the machine: Python 3.11 or newer, Node.js 20.19 or newer (with npm), make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONTRACT := tests/contract/typescript
SPA := examples/react_spa
# The npm packages of the tests and examples that are built; the last two install a copy of frontend_snippet/.
NODE_TESTS := $(CONTRACT) $(SPA) tests/browser/hosts examples/nextjs examples/vue
MODULE := kombo_embed/web/static/kombo-embed.js
FRONTEND := $(shell find frontend_snippet/src -name '*.ts' 2>/dev/null) \
            frontend_snippet/package.json frontend_snippet/package-lock.json $(wildcard frontend_snippet/*.mjs)
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
# The tests start many Python processes; without bytecode files each would compile everything again.
TESTING := PYTHONDONTWRITEBYTECODE=
PYTEST := $(TESTING) $(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

# The sizes of `make soak`.
FULL := CI=true FAULTS_FULL=1 CRASH_TEST_KILLS=200 FAILING_COMPLETIONS=10000 CONVERGENCE_SHUFFLES=1000 LINKS_SOAK=1 \
    MUTATION_EXAMPLES=800 MUTATED_COOKIES=100000 GENERATED_REQUESTS=500 SIMULATION_SEEDS=2500 SIMULATION_CUSTOMERS=4 DELIVERY_EXAMPLES=2000 \
    PYTEST_ADDOPTS="-o faulthandler_timeout=7200" DETAILS_TEST_KILLS=10 DETAILS_TEST_COMPLETIONS=200 PLAN_ROWS=1000000

LOWEST := $(VENV)-lowest
# Old libraries and the newest ones below them warn of each other; what this package does wrong still fails.
# pytest-asyncio closes its event loops later than now.
OLD_VERSIONS := -W default::DeprecationWarning -W default::PendingDeprecationWarning \
    -W default::pytest.PytestUnraisableExceptionWarning
# Pythons that the package supports too; `make test-pythons` looks for them on the PATH and among pyenv's.
PYTHONS := 3.12 3.13 3.14
SMOKE := tests/test_public_surface.py tests/journeys/test_connect_journey.py tests/settings tests/cli/test_commands.py \
    tests/store/test_database.py

.DEFAULT_GOAL := help
.PHONY: help demo test test-integrations test-lowest test-pythons test-python faults soak-faults soak mutants check format bench bench-quick build dist docs links reference lock screenshots clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

demo: $(VENV)/.demo $(MODULE) ## connect a tool in your browser, without a Kombo account
	@$(BIN)/python -m kombo_embed demo $(ARGS)

test: $(VENV)/.dev $(MODULE) ## a case for each guarantee: Python, TypeScript, a real browser (4 minutes on two cores)
	@cd frontend_snippet && npm test --silent
	@$(PYTEST) -m "not integration" $(ARGS)

test-integrations: $(VENV)/.dev $(MODULE) $(NODE_TESTS:%=%/node_modules/.installed) ## the long tests: frameworks, examples, packaging, faults (15 minutes)
	@$(PYTEST) -m integration $(ARGS)

test-lowest: $(LOWEST)/.installed ## the in-process tests on the lowest versions that pyproject.toml allows
	@$(TESTING) $(LOWEST)/bin/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder \
	    $(OLD_VERSIONS) -m "not integration and not browser" $(or $(ARGS),tests)

test-pythons: $(MODULE) ## a few tests on each other Python that is installed: imports, commands, a whole journey
	@for version in $(PYTHONS); do \
	    found=; \
	    for python in $$(command -v python$$version) $$HOME/.pyenv/versions/$$version.*/bin/python; do \
	        test -n "$$found" || ! "$$python" -c "" 2>/dev/null || found=$$python; \
	    done; \
	    test -n "$$found" || { echo "Python $$version is not installed: its tests are left out"; continue; }; \
	    $(MAKE) --no-print-directory test-python PYTHON=$$found VENV=$(VENV)-$$version || exit 1; \
	done

test-python: $(VENV)/.dev
	@echo "On $$($(BIN)/python --version):"
	@$(TESTING) $(BIN)/python -m pytest --numprocesses=0 -q -m "not integration" $(or $(ARGS),$(SMOKE))

faults: $(VENV)/.dev $(MODULE) ## the thirty faults of docs/reliability.md, in small, and what was measured (5 minutes)
	@$(TESTING) $(BIN)/python -m tests.faults $(ARGS)

soak-faults: $(VENV)/.dev $(MODULE) ## the thirty faults at full size (two hours)
	@$(FULL) $(TESTING) $(BIN)/python -m tests.faults $(ARGS)

soak: soak-faults ## hours of tests at full size: the thirty faults, 10,000 simulated customers, a million rows
	@$(FULL) $(TESTING) $(BIN)/python -m pytest tests/simulation tests/web/test_generated_requests.py \
	    tests/journeys/test_details_after_crashes.py \
	    tests/store/test_delivery_order.py tests/store/test_every_plan.py tests/link_cache $(ARGS)

mutants: $(VENV)/.dev $(MODULE) ## break each of twenty guards in a copy: the tests must find it (10 minutes)
	@$(BIN)/python -m tests.mutants $(ARGS)

check: $(VENV)/.docs $(MODULE) $(SPA)/node_modules/.installed ## lint, types, formatting and packaging, changing nothing
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@cd frontend_snippet && npm run --silent check
	@cd $(SPA) && npm run --silent check

format: $(VENV)/.dev ## put the code into shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.bench $(MODULE) ## measure the targets of docs/performance.md on this machine (half an hour)
	@$(BIN)/python -m benchmarks $(ARGS)

bench-quick: $(VENV)/.bench $(MODULE) ## the same with fewer rounds, in a few minutes
	@$(BIN)/python -m benchmarks --effort quick $(ARGS)

dist: $(VENV)/.release $(MODULE) ## what is released: wheel, source distribution and bills of materials, verified
	@rm -rf dist
	@KOMBO_EMBED_SKIP_NPM_CI=1 $(BIN)/python -m hatchling build
	@$(BIN)/twine check --strict dist/*.whl dist/*.tar.gz
	@$(BIN)/check-wheel-contents dist/*.whl
	@mkdir dist/sbom
	@$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --mc-type library --output-reproducible \
	    --output-file dist/sbom/python.cdx.json requirements/deploy.txt
	@cd frontend_snippet && npm sbom --package-lock-only --omit=dev --sbom-format=cyclonedx --sbom-type=library \
	    > ../dist/sbom/browser.cdx.json
	@cd dist && sha256sum *.whl *.tar.gz

docs: $(VENV)/.docs ## the site, in docs/_build/html; a warning is an error
	@$(BIN)/python -m docs.generate
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html $(ARGS)

links: $(VENV)/.docs ## ask the web whether the links of the pages to it still work
	@$(BIN)/python -m sphinx -q -b linkcheck docs docs/_build/links

reference: $(VENV)/.dev ## write the pages of docs/reference that say what the code says
	@$(BIN)/python -m docs.generate

build: $(VENV)/.demo frontend_snippet/node_modules/.installed ## the wheel and the source distribution, in dist/
	@$(BIN)/python -m hatchling build

lock: $(VENV)/.dev ## pin the newest allowed versions of everything, and the lowest of what pyproject.toml names
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile pyproject.toml --extra demo --extra fastapi --group build \
	    --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade \
	    --quiet --output-file requirements/demo.txt
	@$(BIN)/uv pip compile pyproject.toml --extra demo --extra fastapi --extra otel --extra postgres --extra redis \
	    --group build --group check --group frameworks --group fuzz --group test \
	    --constraint requirements/demo.txt --no-annotate \
	    --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade \
	    --quiet --output-file requirements/dev.txt
	@$(BIN)/uv pip compile pyproject.toml --extra cli --extra console --extra fastapi --extra otel --extra postgres --extra redis \
	    --constraint requirements/dev.txt --no-annotate \
	    --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade \
	    --quiet --output-file requirements/deploy.txt
	@$(BIN)/uv pip compile --group docs --constraint requirements/dev.txt --no-annotate \
	    --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade \
	    --quiet --output-file requirements/docs.txt
	@$(BIN)/uv pip compile --group release --constraint requirements/docs.txt --no-annotate \
	    --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade \
	    --quiet --output-file requirements/release.txt
	@$(BIN)/uv pip compile --group bench --constraint requirements/dev.txt --no-annotate \
	    --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade \
	    --quiet --output-file requirements/bench.txt
	@$(BIN)/uv pip compile pyproject.toml --extra demo --extra fastapi --extra otel --extra postgres --extra redis \
	    --group build --group test --resolution lowest-direct --no-annotate \
	    --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade \
	    --quiet --output-file requirements/lowest.txt

screenshots: $(VENV)/.dev $(MODULE) ## take the pictures in docs/screenshots again
	@$(BIN)/python -m tests.browser.screenshots
	@$(BIN)/python -m tests.browser.console_screenshots

clean: ## forget the virtual environment and everything built
	rm -rf $(VENV) $(VENV)-* dist build $(dir $(MODULE)) frontend_snippet/node_modules frontend_snippet/dist \
	    $(NODE_TESTS:%=%/node_modules) $(SPA)/dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed; name it with: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@echo "Making a virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: requirements/demo.txt pyproject.toml $(VENV)/bin/python | $(MODULE)
	@echo "Installing what the demo needs ..."
	@$(PIP) install --quiet --require-hashes -r requirements/demo.txt
	@KOMBO_EMBED_SKIP_NPM_CI=1 $(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.demo
	@echo "Installing what the tests need ..."
	@$(PIP) install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/.docs: requirements/docs.txt $(VENV)/.dev
	@echo "Installing what the documentation needs ..."
	@$(PIP) install --quiet --require-hashes -r requirements/docs.txt
	@touch $@

$(VENV)/.release: requirements/release.txt $(VENV)/.docs
	@echo "Installing what a release needs ..."
	@$(PIP) install --quiet --require-hashes -r requirements/release.txt
	@touch $@

$(LOWEST)/.installed: requirements/lowest.txt pyproject.toml | $(MODULE)
	@echo "Installing the lowest allowed versions in $(LOWEST) ..."
	@$(PYTHON) -m venv --clear $(LOWEST)
	@$(LOWEST)/bin/python -m pip --disable-pip-version-check --no-input install --quiet \
	    --require-hashes -r requirements/lowest.txt
	@KOMBO_EMBED_SKIP_NPM_CI=1 $(LOWEST)/bin/python -m pip --disable-pip-version-check --no-input install --quiet \
	    --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.bench: requirements/bench.txt $(VENV)/.dev
	@echo "Installing what the benchmarks need ..."
	@$(PIP) install --quiet --require-hashes -r requirements/bench.txt
	@touch $@

%/node_modules/.installed: %/package-lock.json
	@command -v npm >/dev/null || { echo "npm was not found: install Node.js 20.19 or newer."; exit 1; }
	@echo "Installing the npm packages of $* ..."
	@cd $* && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

examples/nextjs/node_modules/.installed examples/vue/node_modules/.installed: $(MODULE)

$(MODULE): frontend_snippet/node_modules/.installed $(FRONTEND)
	@cd frontend_snippet && npm run --silent build && npm run --silent install-into-python
	@touch $@
