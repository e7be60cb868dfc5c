# longtake: `make demo` shows everything, `make test` and `make test-long` check everything.
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
OUT ?= runs/demo
DEMO_OPTIONS := $(if $(COCO),--coco "$(COCO)") $(if $(VIS),--vis "$(VIS)") $(if $(VIDEOS),--videos "$(VIDEOS)") $(if $(QUICK),--quick)

.PHONY: demo learn test test-long check install tiny-weights bench-eval bench-association bench-idol bench-systems bench-input bench-rle bench-fusion bench-decode bench-stitching bench-resize bench-long bench-shared clean

demo: install
	$(BIN)/longtake demo --out "$(OUT)" $(DEMO_OPTIONS)

# two processes with one thread each, because more threads would wait for one another on two cores
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test: install
	$(PYTEST) -m "not slow" $(TEST_OPTIONS)

# the slow tests, such as kills, learning, memorised clips and the whole demo
test-long: install
	$(PYTEST) -m slow $(TEST_OPTIONS)

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "longtake needs Python 3.11 or newer"'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	# a test oracle, without its requirements, which would install opencv-python beside the headless wheel
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps trackeval
	touch $@

tiny-weights: install
	$(BIN)/longtake tiny-weights --out vis_core/weights/tiny

# trains all systems, or one: make learn SYSTEM=idol
learn: install
	$(BIN)/longtake learn $(SYSTEM) --out "$(if $(filter runs/demo,$(OUT)),runs/learn,$(OUT))" $(if $(COCO),--coco "$(COCO)") $(if $(VIS),--vis "$(VIS)")

bench-eval: install
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/bench_eval.py --videos 200 2000 $(if $(REFERENCE),--reference "$(REFERENCE)")

bench-association: install
	$(BIN)/python -m tests.benchmarks.bench_association

bench-idol: install
	$(BIN)/python -m tests.benchmarks.bench_idol

bench-systems: install
	$(BIN)/python -m tests.benchmarks.bench_systems

bench-input: install
	$(BIN)/python -m tests.benchmarks.bench_input $(if $(COCO),--coco "$(COCO)") $(if $(RUN),--run $(RUN))

bench-rle: install
	$(BIN)/python -m tests.benchmarks.bench_rle

bench-fusion: install
	$(BIN)/python -m tests.benchmarks.bench_fusion

bench-decode: install
	$(BIN)/python -m tests.benchmarks.bench_decode

bench-stitching: install
	$(BIN)/python -m tests.benchmarks.bench_stitching $(if $(VIS_MINI),--data "$(VIS_MINI)")

bench-resize: install
	$(BIN)/python -m tests.benchmarks.bench_resize

bench-shared: install
	$(BIN)/python -m tests.benchmarks.bench_shared

# memory for a hundred times as many frames, and frames per second from file to result
bench-long: install
	$(BIN)/python -m tests.benchmarks.bench_long

clean:
	rm -rf $(VENV) build dist *.egg-info
