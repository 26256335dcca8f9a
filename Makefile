# The two commands of the README: `make demo` and `make test`. Both need Python >= 3.11, make, git.
PYTHON ?= python3
BIN := .venv/bin
RUN := OMP_NUM_THREADS=1 $(BIN)
DEMO ?= results/quickstart
SEED ?= 0

.PHONY: demo test lint bench-fit bench-synthetic bench-hyper bench-design bench-gpt bench-sweep bench-proxy chaos fuzz clean

demo: .venv/demo.ok
	$(RUN)/planner sweep search_spaces/quickstart.yaml --out $(DEMO) --seed $(SEED)

test: .venv/test.ok lint
	$(RUN)/pytest -n 2 --dist loadgroup

lint: .venv/test.ok
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Speed and calibration are measured here, never asserted in the tests.
# The fit engine, a table each; PEERS_PYTHON may name an interpreter that has its peers.
FIT_BENCHES := chinchilla solve forms coverage wrong_law extrapolation isoflop faults import
bench-fit: .venv/test.ok
	set -e; for name in $(FIT_BENCHES); do echo "== $$name"; $(RUN)/python -m tests.benchmarks.bench_$$name; done

bench-hyper: .venv/test.ok
	$(RUN)/python -m tests.benchmarks.bench_hyper

# Hyperparameters that transfer, and where the next run goes: replays of published tables.
bench-design: .venv/test.ok
	$(RUN)/python -m tests.benchmarks.bench_transfer
	$(RUN)/python -m tests.benchmarks.bench_schedule
	$(RUN)/python -m tests.benchmarks.bench_design

# The gpt proxy itself, trained for tens of minutes: parametrisations, schedules, forks, transfer.
GPT_BENCHES := mup schedule_gpt forks lr_transfer
bench-gpt: .venv/test.ok
	set -e; for name in $(GPT_BENCHES); do echo "== $$name"; $(RUN)/python -m tests.benchmarks.bench_$$name; done

bench-synthetic: .venv/test.ok
	$(RUN)/python -m tests.benchmarks.bench_synthetic

# Bad ledgers, study folders, YAML and checkpoints: refused, repaired or harmless.
fuzz: .venv/test.ok
	$(RUN)/python -m tests.benchmarks.fuzz

# What the sweep adds to its trials, what huge studies cost, and how long slots stand idle.
bench-sweep: .venv/test.ok
	$(RUN)/python -m tests.benchmarks.bench_sweep_overhead
	$(RUN)/python -m tests.benchmarks.bench_sweep_scale
	$(RUN)/python -m tests.benchmarks.bench_sweep_utilisation

# Proxies: tokens per second, other people's trainers, images, data at scale.
PROXY_BENCHES := speed command image data
bench-proxy: .venv/test.ok
	set -e; for name in $(PROXY_BENCHES); do echo "== $$name"; $(RUN)/python -m tests.benchmarks.bench_proxy_$$name; done

# A hundred random kills of drivers, workers, raylets and nodes, and a cluster that changes.
chaos: .venv/test.ok
	$(RUN)/python -m tests.benchmarks.chaos

.venv/demo.ok: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/test.ok: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch .venv/demo.ok $@

clean:
	rm -rf .venv build dist *.egg-info
