# One-line targets; every CI job is one of them. `make probador` sets up and runs the main job on the embedded model.
.PHONY: peers prove-release matrix playbooks playbooks-report playbooks-gate probador-playbooks probador probador-golden probador-report report-check ci prove impostors attest test lint fmt model gate bench deny fuzz test-aarch64 coverage mutants

probador: ## verify the embedded model against the whole checklist
	cargo build --release --package apr-cli --package probador --quiet && cargo probador full

probador-golden: ## compare every golden tensor with what the stack computes (MODEL=tiny)
	cargo probador golden verify $(or $(MODEL),tiny)

playbooks: ## run the playbooks (CATEGORY=error-handling MODEL=tiny)
	cargo build --release --package apr-cli --package probador --quiet && cargo probador playbook run $(CATEGORY) --model $(or $(MODEL),tiny)

playbooks-report: ## run the playbooks and write the report, reports/latest/report.html
	cargo probador full --tag playbook --model $(or $(MODEL),tiny)

playbooks-gate: ## pass only when all fifty playbooks pass on the release model
	cargo build --release --package apr-cli --package probador --quiet && cargo probador playbook run --gate --model $(or $(MODEL),release)

probador-playbooks: ## the same as playbooks
	cargo build --release --package apr-cli --package probador --quiet && cargo probador playbook run $(CATEGORY) --model $(or $(MODEL),tiny)

probador-report: ## rebuild the report of the last run
	cargo probador report

report-check: ## judge the report's pages in a real browser: accessibility, phone, dark mode, keyboard
	bash scripts/check_page.sh

ci: ## hold a run to the committed baseline, which claims must not lose (MODEL=tiny)
	cargo build --release --package apr-cli --package probador --quiet && cargo probador ci --strict --model $(or $(MODEL),tiny)

prove: ## see every check fail under the faults of its claim (MODEL=tiny)
	cargo probador prove --model $(or $(MODEL),tiny)

prove-release: ## the same for the claims that only the released model decides
	cargo probador prove B1 B3 D5 I7 I11 happy-path/questions-of-fact happy-path/qwen-chat performance/import-streams performance/memory-of-a-reply --model release

matrix: ## every claim under every fault that needs no build: what each catches, which catch the same (MODEL=tiny)
	cargo probador prove --matrix --kind data,wrap,fixture --model $(or $(MODEL),tiny)

impostors: ## let whole fakes stand in for the stack; none may pass what is about behaviour (MODEL=tiny)
	cargo probador impostors --model $(or $(MODEL),tiny)

attest: ## bind the newest report to what was judged (KEY=release.key signs it)
	cargo probador attest create $(if $(KEY),--key $(KEY))

test: ## run all tests
	cargo test --release --workspace

lint: ## formatting, clippy, the project's own lints
	cargo fmt --all --check && cargo probador lint --clippy

peers: ## measure speed, size and quality beside llama.cpp, which is built from its source distribution
	cargo build --release --package apr-cli --quiet && python3 scripts/compare_peers.py

deny: ## licences, advisories and sources of every dependency
	cargo deny check

fmt: ## format the code
	cargo fmt --all

model: ## fetch, verify and import the release model into the cache
	sh scripts/make_model.sh

gate: ## decide on a release: the whole checklist on the release model
	cargo build --release --package apr-cli --package probador --quiet && cargo probador gate --model release

bench: ## time the kernels
	cargo bench --package apr-tensor

fuzz: ## fuzz the parsers of hostile files, a minute each (SECONDS=60)
	bash scripts/fuzz.sh $(or $(SECONDS),60)

test-aarch64: ## test the NEON kernels under emulation
	bash scripts/test_aarch64.sh

coverage: ## measure what the tests execute, crates that have changed only
	(command -v cargo-llvm-cov >/dev/null || cargo install --locked --quiet cargo-llvm-cov) && cargo probador coverage

mutants: ## change the code a little and see whether tests notice, crates that have changed only; takes hours
	(command -v cargo-mutants >/dev/null || cargo install --locked --quiet cargo-mutants) && cargo probador mutants
