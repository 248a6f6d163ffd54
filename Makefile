# One-word entry points. `make demo` and `make test` need nothing but a Debian 12
# machine: each first installs what is missing (tools/setup.sh).
.PHONY: demo test serve bench build format lint asan tsan verify setup \
	faults fuzz verify-layers verify-sizes verify-format verify-shell verify-deploy clean

# One compiler per core; a file that includes torch takes up to 1.4 GB.
JOBS ?= $(shell nproc)

demo: build demo-base
	demo/run.sh

serve: build demo-base
	demo/serve.sh

test: setup demo-base
	cmake --preset dev
	cmake --build --preset dev -j $(JOBS)
	ctest --preset dev

build: setup
	cmake --preset dev
	cmake --build --preset dev -j $(JOBS) --target stockpotd stockpot

bench: build
	cmake --build --preset dev -j $(JOBS) --target stockpot-loadgen
	bench/run.sh

# Sanitizers see everything that needs no torch.
asan: setup
	cmake --preset asan
	cmake --build --preset asan -j $(JOBS)
	ctest --preset asan

tsan: setup
	cmake --preset tsan
	cmake --build --preset tsan -j $(JOBS)
	ctest --preset tsan

# The long forms of tests/faults: about an hour.
faults: setup
	cmake --preset dev
	cmake --build --preset dev -j $(JOBS) --target fault_tests
	STOCKPOT_FAULTS_LONG=1 ctest --test-dir build/dev -L faults -V --no-tests=error

# libFuzzer, FUZZ_SECONDS (60) for each target.
fuzz: setup
	cmake --preset fuzz
	cmake --build --preset fuzz -j $(JOBS) --target fuzz_programs
	tests/fuzz/run.sh

lint: setup
	cmake --preset lint
	cmake --build --preset lint -j $(JOBS)

SOURCES = $(shell git ls-files '*.cc' '*.h')
format:
	clang-format-14 -i $(SOURCES)

verify: verify-layers verify-sizes verify-format verify-shell verify-deploy
verify-layers:
	python3 tools/check_layers.py
verify-sizes:
	python3 tools/check_sizes.py
verify-format: setup
	@clang-format-14 --dry-run --Werror $(SOURCES)
verify-shell:
	@for f in $$(git ls-files '*.sh') .ci/run; do bash -n $$f || exit 1; done
verify-deploy: setup
	deploy/check.sh

setup:
	tools/setup.sh build
demo-base:
	tools/setup.sh demo
	.deps/demo/bin/python demo/fetch_base.py

clean:
	rm -rf build
