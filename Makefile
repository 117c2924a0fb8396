# The whole developer interface. `demo` and `test` install what they need and report what they do.
.POSIX:
.PHONY: demo demo-live test test-attacks check image reproduce test-kernel test-scale bench fuzz golden install uninstall

CRATES = palisade-compiler palisade-dataplane palisade-heap palisade-lab palisade palisade-benches

# Tests and the demo make network namespaces, so they run as root. The build does not.
SUDO = $$([ "$$(id -u)" = 0 ] || echo sudo -E)
AS_ROOT = --config "target.'cfg(all())'.runner='$$([ "$$(id -u)" = 0 ] && command -v env || echo sudo -E)'"
# Runs each program on another kernel: see deploy/vm/boot.
IN_MACHINE = --config "target.'cfg(all())'.runner='$(SUDO) $(CURDIR)/deploy/vm/boot'"

demo:
	@deploy/prepare demo
	@echo '==> building palisade: the first build takes about 3 minutes on 2 cores, later ones seconds' >&2
	@cargo build --locked -p palisade
	@$(SUDO) target/debug/palisade demo

# With the page in a browser, until Ctrl-C.
demo-live:
	@deploy/prepare demo
	@cargo build --locked -p palisade
	@$(SUDO) target/debug/palisade demo --live

test: check
	@echo '==> tests' >&2
	cargo $(AS_ROOT) test --locked --workspace
	@echo '==> the image' >&2
	@deploy/image/build
	@$(SUDO) deploy/image/test
	@echo "==> the demo and the systemd unit on Debian 12's kernel, in an emulated machine" >&2
	cargo $(IN_MACHINE) run --quiet --locked -p palisade -- demo
	PALISADE_BINARY=target/debug/palisade $(SUDO) deploy/vm/boot deploy/vm/try-systemd

# Format, lints, documentation, dependencies, the chart, and that each crate compiles without what other crates ask of its dependencies.
# `cargo deny check advisories` is not part of it: it downloads the RustSec database from GitHub, which not every machine reaches.
check:
	@deploy/prepare test
	@echo '==> format, lints, documentation, dependencies' >&2
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --quiet
	cargo deny --locked --log-level error check bans licenses sources
	deploy/chart/test
	for crate in $(CRATES); do cargo check --quiet --locked --all-targets -p $$crate || exit; done

# The container image, as target/image/palisade.tar: see deploy/image/build.
image:
	@deploy/image/build

# The image twice, from nothing and in different directories: both must be the same, byte by byte. Some 20 minutes.
reproduce:
	@deploy/image/reproduce

# The tests that depend on the kernel, the demo and the systemd unit, on Debian 12's kernel (6.1) in an emulated machine: some 15 minutes.
test-kernel:
	@deploy/prepare test
	cargo build --release --locked -p palisade
	$(SUDO) deploy/vm/boot deploy/vm/try-systemd
	cargo $(IN_MACHINE) run --quiet --locked -p palisade -- demo
	cargo $(IN_MACHINE) test --locked -p palisade-lab --test it
	cargo $(IN_MACHINE) test --locked -p palisade-dataplane --test it -- bridges deny_action engine flow_tables hold neighbours netlink
	cargo $(IN_MACHINE) test --locked -p palisade --test attacks -- --skip movement
	PALISADE_FULL_KERNEL=1 PALISADE_PACKET_CLUSTERS=20 cargo $(IN_MACHINE) test --locked -p palisade --test it -- agent counters deny_action healing hold other_paths packets revocation services

# What a pod may try, again and again, against tables alone and against a running agent, with the table of what came of it; then floods for
# SOAK_SECONDS, with the agent's bounds checked. `make test` has the short form.
SOAK_SECONDS = 600
test-attacks:
	@deploy/prepare test
	@rm -rf target/attacks && mkdir -p target/attacks
	@status=0; PALISADE_ATTACK_TABLE=$(CURDIR)/target/attacks PALISADE_ATTACK_TRIES=20 \
		cargo $(AS_ROOT) test --locked -p palisade --test attacks || status=$$?; \
		echo '==> attack, pods, family, enforced by, without Palisade, with it, and what is legitimate' >&2; \
		sort target/attacks/*; exit $$status
	PALISADE_SOAK_SECONDS=$(SOAK_SECONDS) cargo $(AS_ROOT) test --locked -p palisade --test it -- --nocapture --test-threads 4 floods

# The agent at 100,000 pods and 10,000 policies of a real API server, killed 100 times, and 1,000 pods that start, with the figures printed: two
# hours or more.
test-scale:
	@deploy/prepare test
	PALISADE_SCALE_PODS=100000 PALISADE_SCALE_POLICIES=10000 PALISADE_KILLS=100 PALISADE_POD_STARTS=1000 \
		cargo $(AS_ROOT) test --release --locked -p palisade --test kubernetes -- --nocapture --test-threads 1 scale kills pod_start

bench:
	cargo bench --locked -p palisade-benches

# Fuzzes every decoder of bytes from outside, each for FUZZ_SECONDS, and keeps what reaches new code in benches/fuzz/corpus. A finding ends it and
# lies in benches/fuzz/artifacts. `make test` replays what is committed.
FUZZ_SECONDS = 600
fuzz:
	@deploy/prepare fuzz
	@for target in $$(cd benches/fuzz/fuzz_targets && ls | sed 's/\.rs$$//'); do \
		echo "==> $$target" >&2; \
		(cd benches/fuzz && cargo fuzz run -O -s none "$$target" -- -max_len=8192 -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1) || exit; \
	done

# Writes the golden rulesets anew; read the difference before committing it.
golden:
	UPDATE_GOLDEN=1 cargo $(AS_ROOT) test --locked -p palisade-compiler golden

# The binary and the systemd unit: see deploy/install for the paths.
install:
	@deploy/prepare build
	cargo build --release --locked -p palisade
	$(SUDO) deploy/install

uninstall:
	$(SUDO) deploy/uninstall
