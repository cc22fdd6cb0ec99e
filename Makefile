# Everything runs in .venv, made from pyproject.toml on first use.
PYTHON ?= python3
BIN := .venv/bin
COMPILED := $(CURDIR)/build/compiled
LOWEST := build/lowest
# Three processes for two cores, as many tests wait for a peer or a timer.
PARALLEL := -n 3 --dist loadfile
# What has compiled modules below it; the rest does not notice. What the loops call (network/connection.py) is tested on
# both in tests/network; the services see no loop, and run on uvloop here.
COMPILED_TESTS := $(addprefix tests/,upper_layer messages dataset network services test_compiled.py)
# What calls a dependency: pydicom below dataset/, demo/ and testing/, uvloop below network/, Pillow and numpy where films
# are drawn, the rest below cli/ and node/. The other services, and what only checks or documents the project, call them
# through these, and meet no more of them; hostile peers and broken disks need nothing but Python.
LOWEST_TESTS := $(addprefix tests/,cli dataset demo network node sync testing test_pytest_plugin.py test_uids.py) \
	$(wildcard tests/services/test_film_*.py tests/services/test_print*.py)

INCLUDE := 'import sysconfig; print(sysconfig.get_path("include"))'

.PHONY: demo test test-compiled test-lowest lint figures fuzz conversations docs coverage bench soak kill format clean

demo: .venv/installed
	$(BIN)/dimse demo

test: .venv/installed
	$(BIN)/pytest $(PARALLEL)
	@if [ -n "$$CI" ] || { command -v cc && test -e "$$($(BIN)/python -c $(INCLUDE))/Python.h"; } >/dev/null; \
	then $(MAKE) test-compiled; \
	else echo "no C compiler or no headers of Python's (Debian: gcc python3-dev): the compiled modules are not tested"; fi
	@if [ -n "$$CI" ]; then $(MAKE) test-lowest; fi

test-compiled: .venv/installed $(COMPILED)/installed
	DIMSE_COMPILED=true PYTHONPATH=$(COMPILED) $(BIN)/pytest $(PARALLEL) -o on_uvloop=services $(COMPILED_TESTS)

# With the lowest versions that pyproject.toml allows. Each process would rewrite all assertions for this version of pytest:
# half of the time that it takes to collect the tests.
test-lowest: $(LOWEST)/installed
	$(LOWEST)/bin/python -m pytest $(PARALLEL) --assert=plain -o both_loops= -o on_uvloop=network $(LOWEST_TESTS)

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@if [ -n "$$CI" ]; then $(MAKE) docs; fi

# The places behind them: python tools/figures.py --places
figures: .venv/installed
	$(BIN)/python tools/figures.py

# The site, in build/docs; each warning is an error.
docs: .venv/installed
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env docs build/docs

# In all, and of each module by the test file of its name: tools/coverage_gate.py has the limits.
coverage: .venv/installed
	rm -rf build/coverage && mkdir -p build/coverage
	$(BIN)/coverage run -m pytest $(PARALLEL) -p tools.coverage_contexts --timeout 300 \
		--ignore tests/peers --ignore tests/test_compiled.py --ignore tests/test_project.py
	$(BIN)/coverage combine --quiet
	$(BIN)/python tools/coverage_gate.py

# One target: make fuzz TARGETS=scanner EXAMPLES=1000000 SECONDS=3600. The second run is guided by coverage (Linux).
fuzz: .venv/installed
	$(BIN)/python fuzz/run.py --examples $(or $(EXAMPLES),10000) $(TARGETS)
	if [ "$$(uname)" = Linux ]; then $(BIN)/python -m pip install --quiet --group fuzz && \
		$(BIN)/python fuzz/guided.py --seconds $(or $(SECONDS),20) $(TARGETS); fi

# All hostile conversations, through the machine and over sockets. One group: make conversations GROUPS="'PDU types'"
conversations: .venv/installed
	$(BIN)/python tests/conversations/run.py $(GROUPS)

bench: .venv/installed $(COMPILED)/installed
	$(BIN)/python -m pip install --quiet --group bench
	PYTHONPATH=$(COMPILED) $(BIN)/python benchmarks/run.py $(PARTS)

# Ten minutes of mixed load, a fifth of it hostile; a shorter one: make soak SECONDS=60
soak: .venv/installed
	$(BIN)/python benchmarks/soak.py --seconds $(or $(SECONDS),600)

# Nothing acknowledged is lost, by a receiver and by an archive: make kill KILLS=50
kill: .venv/installed
	$(BIN)/python benchmarks/kill.py --kills $(or $(KILLS),500)
	$(BIN)/python benchmarks/kill_node.py --kills $(or $(KILLS),300)

format: .venv/installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1" "uv>=0.5"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --editable . --group dev
	touch $@

# Of a copy, as the compiler leaves its modules beside the sources, where they would hide them.
$(COMPILED)/installed: .venv/installed $(shell find src -name '*.py')
	rm -rf build/source $(COMPILED)
	mkdir -p build/source
	cp -r pyproject.toml README.md LICENSE src tools build/source
	HATCH_BUILD_HOOK_ENABLE_MYPYC=true $(BIN)/pip install --quiet --no-deps --target $(COMPILED) build/source
	touch $@

$(LOWEST)/installed: .venv/installed
	rm -rf $(LOWEST)
	$(PYTHON) -m venv $(LOWEST)
	$(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct \
		--editable '.[cli,demo,fast,node]' --group dev
	touch $@

clean:
	rm -rf .venv build dist
