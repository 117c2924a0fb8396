# The whole developer interface. Both `demo` and `test` install what they need and say what they do.
.POSIX:
.PHONY: demo test check bench golden

# Tests and the demo make network namespaces, so they run as root; the build does not.
RUNNER = $$([ "$$(id -u)" = 0 ] || echo sudo -E)
AS_ROOT = --config "target.'cfg(all())'.runner='$$([ "$$(id -u)" = 0 ] && command -v env || echo sudo -E)'"

demo:
	@deploy/prepare
	@echo '==> building palisade' >&2
	@cargo build --quiet --locked -p palisade
	@$(RUNNER) target/debug/palisade demo

test: check
	@echo '==> tests' >&2
	cargo $(AS_ROOT) test --locked --workspace

# Format, lints and documentation.
check:
	@deploy/prepare
	@echo '==> format, lints, documentation' >&2
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --quiet

bench:
	cargo bench --locked -p palisade-benches

# Writes the golden rulesets anew; read the difference before committing it.
golden:
	UPDATE_GOLDEN=1 cargo $(AS_ROOT) test --locked -p palisade-compiler golden
