# Every target makes the environment it needs. `make run` and `make test` are the two that matter.
.PHONY: run package test test-apart test-templates test-skeleton test-durable lint check bench parts audit locks clean
VENV := .venv
READY := $(VENV)/.ready
BIN := $(VENV)/bin
DURABLE := .venv-durable
ENGINES := .venv-bench
AUDIT := .venv-audit
PARTS := .state/parts.cdx.json
TEMPLATES := .venv-infra
PROJECT := .venv-project
# Tests that run beside the others, so that both cores have something to do: whole processes, which mostly wait, a month, and what needs
# no storage; the templates, the project skeleton and the second engine, each in an environment of its own.
STORIES := tests/test_kill.py tests/test_project.py tests/test_story.py tests/test_quality_story.py
APART := $(STORIES) $(wildcard tests/test_rules_*.py tests/test_rehearsal_*.py tests/test_rollout_*.py)
BESIDE := apart templates skeleton durable

run: $(READY)
	@$(BIN)/switchyard serve --simulate --story

test: lint check parts $(DURABLE)/.ready $(TEMPLATES)/.ready $(PROJECT)/.ready
	@mkdir -p .state && rm -f $(BESIDE:%=.state/%.end)
	@for one in $(BESIDE); do { $(MAKE) -s test-$$one > .state/$$one.txt 2>&1; echo $$? > .state/$$one.end; } & done; \
	  $(BIN)/python -m pytest $(APART:%=--ignore=%); result=$$?; wait; \
	  for one in $(BESIDE); do \
	    echo "Beside ($$one):"; cat .state/$$one.txt; result=$$((result + $$(cat .state/$$one.end || echo 1))); \
	  done; exit $$result

test-apart: $(READY)
	$(BIN)/python -m pytest $(APART)

test-templates: $(TEMPLATES)/.ready
	$(TEMPLATES)/bin/python -m pytest --confcutdir=tests/infra tests/infra

test-skeleton: $(PROJECT)/.ready
	OMP_NUM_THREADS=1 $(PROJECT)/bin/python -m pytest -c samples/project/pytest.ini samples/project/tests

test-durable: $(DURABLE)/.ready
	$(DURABLE)/bin/python -m pytest --confcutdir=tests/durable tests/durable

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: $(READY)
	$(BIN)/switchyard check --strict config
	$(BIN)/switchyard test --coverage config

bench: $(READY) $(ENGINES)/.ready
	$(BIN)/python -m bench.e2e
	$(BIN)/python -m bench.impact
	$(BIN)/python -m bench.cost
	$(ENGINES)/bin/python -m bench.match

# The list of what Azure installs, as CycloneDX: held against its schema, which is within the package.
parts: $(AUDIT)/.ready
	@mkdir -p $(dir $(PARTS))
	@$(AUDIT)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --validate -o $(PARTS) requirements.txt 2>/dev/null || \
	  { echo "The list of parts could not be built from requirements.txt: $(AUDIT)/bin/cyclonedx-py says why."; exit 1; }
	@echo "Parts: $(PARTS)"

# Asks the advisories about every locked version, so that it needs the network; `make test` does not. A release that is known to be
# wrong is asked for first: where nothing is found against that, nobody answered.
audit: $(AUDIT)/.ready
	@mkdir -p .state && echo "jinja2==3.1.2" > .state/known.txt
	@$(AUDIT)/bin/pip-audit --disable-pip --no-deps --format json -r .state/known.txt 2>/dev/null | grep -q '"fix_versions"' || \
	  { echo "The advisories of the package index can't be asked from here: nothing was audited."; exit 2; }
	$(AUDIT)/bin/pip-audit --strict --require-hashes --disable-pip -r requirements.txt

$(READY): requirements-dev.txt pyproject.toml bootstrap.sh
	@sh bootstrap.sh $(VENV)

# Further environments, for what does not go together with ours: the next Durable Functions (docs/decisions/0004), the rule
# engines that bench/match.py measures, what reads the templates of infra/ (docs/decisions/0009), and the training of samples/project.
.venv-%/.ready: requirements-%.txt $(READY)
	@$(BIN)/uv venv -q --clear --python $(BIN)/python .venv-$*
	@VIRTUAL_ENV=$(CURDIR)/.venv-$* $(BIN)/uv pip install -q --require-hashes -r requirements-$*.txt
	@touch $@

# What is deployed: every file of the repository but those that .funcignore names. Azure installs requirements.txt.
PACKAGE := .state/package.zip
define PACK
import subprocess, zipfile
def files(*words):
    return set(subprocess.run(["git", "ls-files", "-z", *words], capture_output=True, text=True, check=True).stdout.split("\0")) - {""}
with zipfile.ZipFile("$(PACKAGE)", "w", zipfile.ZIP_DEFLATED) as made:
    for name in sorted(files() - files("--cached", "--ignored", "--exclude-from=.funcignore")):
        made.write(name)
endef
export PACK
package: $(READY)
	@mkdir -p .state && $(BIN)/python -c "$$PACK"

# After a change of the dependencies in pyproject.toml. The further environments have the versions of the first, but for what differs;
# samples/project has the versions that Azure's server of deployments goes together with.
COMPILE := $(BIN)/uv pip compile -q --python-version 3.13 --universal --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make locks"
locks: $(READY)
	$(COMPILE) pyproject.toml -o requirements.txt
	$(COMPILE) --extra local --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt
	sed -n '/^azure-functions-durable==/d; s/^\([A-Za-z0-9._-]*==[^ ;]*\) .*/\1/p' requirements-dev.txt | $(COMPILE) --group durable -c - -o requirements-durable.txt
	sed -n 's/^\([A-Za-z0-9._-]*==[^ ;]*\) .*/\1/p' requirements-dev.txt | $(COMPILE) --group audit -c - -o requirements-audit.txt
	$(COMPILE) --group infra -o requirements-infra.txt
	$(COMPILE) --group project -o requirements-project.txt
	sed -n '/^python-dateutil==/d; s/^\([A-Za-z0-9._-]*==[^ ;]*\) .*/\1/p' requirements-dev.txt | $(COMPILE) --group bench -c - -o requirements-bench.txt

clean:
	rm -rf $(VENV) $(DURABLE) $(ENGINES) $(AUDIT) $(TEMPLATES) $(PROJECT) .state
