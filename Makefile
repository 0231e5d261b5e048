# One environment for everything; it is made once, and again only when pyproject.toml changes.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO ?= demo_out
SECONDS ?= 5
DATA ?= data
ARM ?= ../shared/arm
ANDROID ?= ../shared/android

.PHONY: demo test test-all lint bench benchmarks docs-benchmarks docs-compression edge-bench.pyz peers weights eval arm android native native-test native-arm native-fuzz native-plugin native-plugin-test npm odd-input bundles readme-table clean
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	$(BIN)/edge-demo -o $(DEMO)

# One file at a time on each core; -n 0 to see what a test prints.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

# Adds the full-size networks and the installation itself: minutes each.
test-all: $(INSTALLED)
	$(BIN)/pytest -m ""

# mypy and import-linter do not know of the folders that setuptools maps into `edge`: they get a tree
# of links, and a copy of it.
lint: $(INSTALLED)
	$(BIN)/ruff check .
	rm -rf build/types && mkdir -p build/types/edge
	ln -s $(CURDIR)/edge/* $(foreach part,benchmarks compression export training,$(CURDIR)/$(part)) build/types/edge
	MYPYPATH=build/types $(BIN)/mypy --cache-dir build/mypy -p edge
	rm -rf build/layers && cp -rL build/types build/layers
	cd build/layers && $(abspath $(BIN))/lint-imports $(CURDIR)/pyproject.toml --no-cache

bench: $(INSTALLED)
	@test -d $(DEMO)/bundles || $(MAKE) demo
	$(BIN)/edge-bench $(DEMO)/bundles/* --seconds $(SECONDS)
	$(BIN)/python -m edge.benchmarks.hot_paths

# The benchmark as one file for a device with NumPy and ONNX Runtime: python edge-bench.pyz BUNDLE
edge-bench.pyz: $(INSTALLED)
	$(BIN)/python -m edge.benchmarks.zipapp -o $@

# Every stored figure of docs/benchmarks.md again: on an idle machine.
benchmarks: $(INSTALLED)
	$(BIN)/edge-bench $(foreach b,enhancer-fp32 enhancer htdemucs-mini-fp32 htdemucs-mini,$(DEMO)/bundles/$(b)) \
		--threads 1,2 --profile --json docs/results/bench.json
	$(BIN)/python -m edge.benchmarks.htdemucs -o docs/results/htdemucs.json
	$(BIN)/python -m edge.benchmarks.hot_paths --save
	$(MAKE) docs-benchmarks

# Other people's systems, each in an environment of its own.
peers: $(INSTALLED)
	$(BIN)/python -m edge.benchmarks.peers install

# The shipped weights from nothing, into runs/: data, both trainings, both recoveries; some twenty hours, to be
# stopped and called again at any time.
RESUME = $(if $(wildcard runs/$(1)/state.pt),--resume)
RECOVER = $(BIN)/edge-train recover $(1) --prune 0.5 --data $(DATA) --checkpoint runs/$(1)/$(1).safetensors \
	--out runs/$(1)-p50
weights: $(INSTALLED)
	$(BIN)/edge-train data speech --out $(DATA)
	$(BIN)/edge-train data music --out $(DATA) --songs 241
	$(BIN)/edge-train enhancer --data $(DATA) --minutes 66 --out runs/enhancer-first $(call RESUME,enhancer-first)
	$(BIN)/edge-train enhancer --data $(DATA) --minutes 88 --lr 1.5e-3 --out runs/enhancer $(call RESUME,enhancer) \
		--start runs/enhancer-first/enhancer.safetensors
	$(BIN)/edge-train htdemucs-mini --data $(DATA) --minutes 175 --out runs/htdemucs-mini $(call RESUME,htdemucs-mini)
	# at last on whole segments, as the network is used
	$(BIN)/edge-train htdemucs-mini --data $(DATA) --minutes 240 --seconds 4 --batch 1 --out runs/htdemucs-mini --resume
	$(call RECOVER,enhancer) --minutes 400 $(call RESUME,enhancer-p50)
	$(call RECOVER,htdemucs-mini) --minutes 127 $(call RESUME,htdemucs-mini-p50)
	$(call RECOVER,htdemucs-mini) --minutes 173 --seconds 4 --batch 1 --resume
	$(call RECOVER,htdemucs-mini) --minutes 275 --seconds 4 --batch 1 --resume
	$(call RECOVER,htdemucs-mini) --minutes 395 --seconds 4 --batch 1 --resume

# Quality of the shipped weights beside them, on the held-out data of `edge-train data`: hours.
eval: $(INSTALLED)
	$(BIN)/edge-eval enhancer --data $(DATA) -o runs/eval-enhancer --json > docs/results/eval_enhancer.json
	$(BIN)/edge-eval htdemucs-mini --data $(DATA) -o runs/eval-songs --json > docs/results/eval_htdemucs-mini.json
	$(BIN)/python -m edge.benchmarks.quality.docs docs/evaluation.md docs/results/eval_*.json

docs-compression: $(INSTALLED)
	$(BIN)/python -m edge.benchmarks.compression.docs docs/compression.md docs/results/compression_*.json

docs-benchmarks: $(INSTALLED)
	$(BIN)/python -m edge.benchmarks.docs

# Golden checks and instructions on emulated ARM64 cores, against the committed counts; Debian, as root.
arm: $(INSTALLED)
	@test -d $(DEMO)/bundles || $(MAKE) demo
	bash $(ARM)/setup_arm.sh build/arm
	EDGE_ARM_PYTHON=build/arm/arm-python $(BIN)/pytest tests/benchmarks/test_arm.py
	$(BIN)/python -m edge.benchmarks.arm $(DEMO)/bundles/enhancer $(DEMO)/bundles/enhancer-fp32 \
		--arm build/arm/arm-python --check benchmarks/arm/baseline.json
	$(BIN)/python -m edge.benchmarks.arm $(DEMO)/bundles/htdemucs-mini --backend onnx --cpu cortex-a76 \
		--arm build/arm/arm-python --check benchmarks/arm/baseline.json

# The Android app from its own sources: JVM tests against the real runtime, a signed APK; Debian, as root.
android: $(INSTALLED)
	@test -d $(DEMO)/bundles || $(MAKE) demo
	PYTHON=$(abspath $(BIN))/python STEM_EDGE_ANDROID_TOOLS=$(abspath $(ANDROID)) bash android_demo/check.sh build/android-toolchain

# The C++ library and command (docs/native.md), and beside the package what edge.native loads.
native:
	cmake -S edge/native -B build/native $(if $(ORT_INCLUDE),-DONNXRUNTIME_INCLUDE=$(ORT_INCLUDE)) $(NATIVE)
	cmake --build build/native
	cp -L build/native/libstemedge.so edge/native/ 2>/dev/null || cp -L build/native/libstemedge.dylib edge/native/

# Against the Python sessions, a hostile caller, and what a stream takes of the system; then again under the sanitizers.
native-test: $(INSTALLED) native
	$(BIN)/pytest tests/native/test_native.py tests/native/test_native_run.py tests/native/test_native_shipped.py
	$(BIN)/python tests/native_programs.py build/native
	cmake -S edge/native -B build/native-asan -DSTEMEDGE_SANITIZE=address,undefined -DSTEMEDGE_RUN=OFF \
		$(if $(ORT_INCLUDE),-DONNXRUNTIME_INCLUDE=$(ORT_INCLUDE))
	cmake --build build/native-asan
	$(BIN)/python tests/native_programs.py build/native-asan

# Cross-built for ARM64; golden checks and what the host adds to the graph, on emulated cores; Debian, as root.
native-arm: $(INSTALLED)
	bash $(ARM)/setup_arm.sh build/arm
	bash edge/native/cmake/arm64.sh build/arm64
	cmake -S edge/native -B build/native-arm --toolchain cmake/arm64.cmake -DSTEMEDGE_ARM64=$(CURDIR)/build/arm64 \
		$(if $(ORT_INCLUDE),-DONNXRUNTIME_INCLUDE=$(abspath $(ORT_INCLUDE)))
	cmake --build build/native-arm
	EDGE_ARM_PYTHON=build/arm/arm-python EDGE_NATIVE_ARM=build/native-arm $(BIN)/pytest tests/native/test_native_arm.py
	$(BIN)/python tests/native/native_arm.py build/native-arm build/arm/arm-python edge/bundles/enhancer edge/bundles/htdemucs-mini

# The plug-in with JUCE, in build/plugin/StemEdge_artefacts, and its tests in other hosts. The build takes minutes.
native-plugin:
	cmake -S edge/native/juce -B build/plugin $(if $(ORT_INCLUDE),-DONNXRUNTIME_INCLUDE=$(ORT_INCLUDE)) $(NATIVE)
	cmake --build build/plugin

# VST3 too where Pedalboard, another host, is installed.
native-plugin-test: $(INSTALLED) native-plugin
	$(BIN)/pytest -m "" tests/native/test_native_plugin.py

# Ten minutes of bytes that nobody vouches for (Clang).
native-fuzz:
	CC=clang CXX=clang++ cmake -S edge/native -B build/native-fuzz -DSTEMEDGE_FUZZ=ON -DSTEMEDGE_RUN=OFF \
		-DSTEMEDGE_TESTS=OFF $(if $(ORT_INCLUDE),-DONNXRUNTIME_INCLUDE=$(ORT_INCLUDE))
	cmake --build build/native-fuzz --target fuzz_bundle
	mkdir -p build/native-fuzz/corpus
	build/native-fuzz/fuzz_bundle build/native-fuzz/corpus edge/native/tests/seeds -max_total_time=600 -timeout=20

# The browser's modules as an npm package, $(NPM)/stem-edge-VERSION.tgz.
NPM ?= build/npm
npm:
	rm -rf $(NPM)/package && mkdir -p $(NPM)/package
	cp -r $(filter-out %.py %__pycache__,$(wildcard edge/web/*)) LICENSE $(NPM)/package
	npm pack $(NPM)/package --pack-destination $(NPM)

# The bundles inside the wheel, from the shipped weights.
bundles: $(INSTALLED)
	$(BIN)/edge-export --prune 0.5 -o edge/bundles
	$(BIN)/python -m edge.bundles

odd-input: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/cli/test_bad_input.py tests/audio/test_containers.py tests/audio/test_audio.py tests/audio/test_media.py \
		tests/bundle/test_names.py tests/runtime/test_shaping.py tests/runtime/test_pipes.py -v -n auto --dist loadfile

# The README's results, measured here and now: run it on an idle machine.
readme-table: $(INSTALLED)
	$(BIN)/edge-demo --full -o $(DEMO)
	cp $(DEMO)/demo.json docs/demo.json
	$(BIN)/python -m edge.benchmarks.readme docs/demo.json README.md

clean:
	rm -rf $(DEMO) build dist bundles .pytest_cache .ruff_cache .mypy_cache .hypothesis .benchmarks

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.11 to 3.13 is needed: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[export,demucs,media,serve,training,eval,dev]'
	@touch $@
