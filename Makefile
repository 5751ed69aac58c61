# Every target makes the environment it needs. `make run` and `make test` are the two that matter.
.PHONY: run test lint check bench locks clean
VENV := .venv
READY := $(VENV)/.ready
BIN := $(VENV)/bin

run: $(READY)
	@$(BIN)/switchyard serve --simulate --story

test: lint check
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: $(READY)
	$(BIN)/switchyard check config

bench: $(READY)
	$(BIN)/python -m bench.e2e

$(READY): requirements-dev.txt pyproject.toml bootstrap.sh
	@sh bootstrap.sh $(VENV)

# After a change of the dependencies in pyproject.toml.
locks: $(READY)
	$(BIN)/uv pip compile -q --python-version 3.13 --universal --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make locks" pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile -q --python-version 3.13 --universal --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make locks" --extra local --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt

clean:
	rm -rf $(VENV) .state
