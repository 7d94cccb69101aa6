# Weir: two commands for a newcomer (`make demo`, `make test`), the others for who works on it.
#
# Every target brings what it needs: as root by apt, otherwise it prints the one line to run
# and stops. The fast deflate (feature `isal`) is built in wherever nasm and autotools are.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# rustup puts cargo here; a login shell finds it, a bare one may not.
export PATH := $(CURDIR)/target/tools/usr/bin:$(PATH):$(HOME)/.cargo/bin

export RUST_BACKTRACE := 1

# A version, so that CI judges today as it did yesterday.
CARGO_DENY := 0.20.2

ISAL_TOOLS := nasm autoconf automake libtoolize make
# For the servers that tests deliver to.
PEER_TOOLS := java mvn python-venv openssl curl flock setsid rsyslogd
# Expanded when a recipe starts, that is after `tools` or `isal` installed what it could.
ISAL = $(shell scripts/install.sh has $(ISAL_TOOLS) && echo yes)
FEATURES = $(if $(ISAL),--features weir/isal)

SCRIPTS := scripts/*.sh .ci/run $(addprefix tests/services/,all certificates kafka peer.sh rsyslog s3)

.PHONY: help demo test test-long soak check bench isolation advisories tools isal release deny promtool peers

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

# Kafka and S3 clients are half of a cold build and no part of the demo: it is built without them.
demo: isal ## build, start a relay, send it events, verify what arrived (needs cargo and git)
	@scripts/install.sh need cc libc-headers git
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust with rustup, then try again" >&2; exit 1; }
	@echo "release build without Kafka and S3 (make release has them), codec: $(if $(ISAL),ISA-L,zlib-rs (nasm and autotools are missing))"
	cargo build --release --workspace --bins --no-default-features $(FEATURES)
	scripts/demo.sh

test: tools isal promtool peers ## all tests, with the portable codec and, where it builds, the fast one
	cargo build --workspace --bins
	ulimit -n "$$(ulimit -Hn)"; tests/services/all run cargo test --workspace
	@if [[ -n "$(ISAL)" ]]; then \
		echo "again, with ISA-L: block and stream"; \
		cargo test -p weir --features isal --lib -- block:: stream::; \
	else \
		echo "nasm and autotools are not here: ISA-L was not tested"; \
	fi

# Beside the crash and restart tests nothing else runs: their load is to be under way.
test-long: tools ## 200 kills, 50 starts and stops of each kind, 30,000 simulations (KILLS, RESTARTS, SEEDS)
	cargo build --workspace --bins
	ulimit -n "$$(ulimit -Hn)"; WEIR_KILLS=$(or $(KILLS),200) WEIR_RESTARTS=$(or $(RESTARTS),50) \
		cargo test -p weir --test integration -- --nocapture crash:: restart::
	WEIR_SIM_FIRST=$(or $(FIRST),$$(date +%s)000000) WEIR_SIM_SEEDS=$(or $(SEEDS),30000) \
		cargo test --test simulation

soak: tools ## the simulation on ever new seeds until one fails or you stop it (FIRST=1000000)
	WEIR_SIM_FIRST=$(or $(FIRST),$$(date +%s)000000) WEIR_SIM_SEEDS=1000000000000 \
		cargo test --test simulation whatever_happens

check: tools isal deny ## format, lints as errors, documentation, dependencies, the tree's own rules
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@if [[ -n "$(ISAL)" ]]; then \
		echo "again, with ISA-L"; \
		cargo clippy --workspace --all-targets $(FEATURES) -- -D warnings; \
	fi
	@# Pages are for those who work on it: links to private items resolve there.
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --workspace --no-deps --document-private-items
	cargo deny --locked --log-level error check --hide-inclusion-graph bans licenses sources
	cargo test --test tidy
	for script in $(SCRIPTS); do bash -n "$$script"; done
	@if scripts/install.sh has shellcheck; then shellcheck --external-sources $(SCRIPTS); fi

bench: release ## stage benches, then the runs README.md reports (DURATION=30 RUNS=3)
	cargo bench --workspace --benches $(FEATURES)
	scripts/bench.sh

isolation: release ## what dead destinations cost the others, and how fast a stream comes back (DURATION=20 ROUNDS=3)
	scripts/isolation.sh

advisories: tools deny ## known holes in dependencies (fetches the advisory database)
	cargo deny --locked check advisories

# What follows is what the targets above share.

tools:
	@scripts/install.sh need cc libc-headers git c++ make pkg-config openssl-headers
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust with rustup, then try again" >&2; exit 1; }

isal:
	@scripts/install.sh want $(ISAL_TOOLS)

promtool:
	@scripts/install.sh need promtool

peers:
	@scripts/install.sh need $(PEER_TOOLS)

release: tools isal
	@echo "release build, codec: $(if $(ISAL),ISA-L,zlib-rs (nasm and autotools are missing))"
	cargo build --release --workspace --bins $(FEATURES)

# Built without optimisation, which takes one minute on two cores instead of five; it reads
# one small graph.
deny:
	@[[ "$$(cargo deny --version 2>/dev/null)" == "cargo-deny $(CARGO_DENY)" ]] || \
		CARGO_TARGET_DIR=target/tools/cargo-deny CARGO_PROFILE_DEV_DEBUG=0 \
		cargo install cargo-deny --version $(CARGO_DENY) --locked --profile dev --no-default-features
