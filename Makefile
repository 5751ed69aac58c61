# Every target makes the environment it needs. `make run` and `make test` are the two that matter.
.PHONY: run test lint check bench locks clean
VENV := .venv
READY := $(VENV)/.ready
BIN := $(VENV)/bin
DURABLE := .venv-durable
ENGINES := .venv-bench
# Long stories: of whole processes, which mostly wait, and of a month. Beside the others they cost next to no time.
STORIES := tests/test_kill.py tests/test_story.py tests/test_quality_story.py

run: $(READY)
	@$(BIN)/switchyard serve --simulate --story

test: lint check $(DURABLE)/.ready
	@mkdir -p .state
	@$(BIN)/python -m pytest $(STORIES) > .state/stories.txt 2>&1 & stories=$$!; \
	  $(BIN)/python -m pytest $(STORIES:%=--ignore=%); others=$$?; \
	  wait $$stories; result=$$?; echo "Long stories ($(STORIES)):"; cat .state/stories.txt; \
	  exit $$((others + result))
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
	$(ENGINES)/bin/python -m bench.match

$(READY): requirements-dev.txt pyproject.toml bootstrap.sh
	@sh bootstrap.sh $(VENV)

# Further environments, for what does not go together with ours: the next Durable Functions (docs/decisions/0004), and the rule
# engines that bench/match.py measures.
.venv-%/.ready: requirements-%.txt $(READY)
	@$(BIN)/uv venv -q --clear --python $(BIN)/python .venv-$*
	@VIRTUAL_ENV=$(CURDIR)/.venv-$* $(BIN)/uv pip install -q --require-hashes -r requirements-$*.txt
	@touch $@

# After a change of the dependencies in pyproject.toml. The further environments have the versions of the first, but for what differs.
COMPILE := $(BIN)/uv pip compile -q --python-version 3.13 --universal --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make locks"
locks: $(READY)
	$(COMPILE) pyproject.toml -o requirements.txt
	$(COMPILE) --extra local --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt
	sed -n '/^azure-functions-durable==/d; s/^\([A-Za-z0-9._-]*==[^ ;]*\) .*/\1/p' requirements-dev.txt | $(COMPILE) --group durable -c - -o requirements-durable.txt
	sed -n '/^python-dateutil==/d; s/^\([A-Za-z0-9._-]*==[^ ;]*\) .*/\1/p' requirements-dev.txt | $(COMPILE) --group bench -c - -o requirements-bench.txt

clean:
	rm -rf $(VENV) $(DURABLE) $(ENGINES) .state
