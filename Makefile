# The two commands of the README are `make run` and `make test`.

GO ?= go
FUZZTIME ?= 20s
CHAOSTIME ?= 5m
TAGS = zookeeper,gpg

# Prints packages as they end, the output of what fails, and a summary.
GOTEST = $(GO) tool gotestsum --format pkgname --format-hide-empty-pkg --hide-summary skipped --

.PHONY: run build test test-long check compile fuzz bench chaos backups pictures

# Builds the server and runs it for a newcomer: bbolt in ./.secretstore-dev, a
# generated token, and the next command to type.
run: build
	./secretstore server --dev

# Static, for containers without libc. VERSION is what "secretstore version"
# says; outside of a git repository, set it. The collector overwrites the garbage
# that it frees: free memory becomes stacks, which the runtime does not clear.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
OUT ?= secretstore
CGO_ENABLED = 0
build:
	CGO_ENABLED=$(CGO_ENABLED) $(GO) build -trimpath -ldflags "-X runtime.godebugDefault=clobberfree=1 -X secretstore/cmd/secretstore/internal/version.stamp=$(VERSION)" -o $(OUT) ./cmd/secretstore

# The tests of the program start it many hundred times; those of commands, OpenPGP
# and Vault's formats compute, in one goroutine. -race triples the cost of both: they
# run without it here, with it among the long tests. They are built as the program
# is, so that little is compiled for them.
UNRACED = ./cmd/secretstore ./cmd/secretstore/internal/cli/... ./docs/... ./internal/oldstores ./internal/vault/... ./seal/pgp ./seal/shares
RACED = $$($(GO) list ./... | grep -vxF "$$($(GO) list $(UNRACED))")
UNRACEDTEST = -trimpath -tags $(TAGS) $(UNRACED)

# All tests but the long ones, with a real ZooKeeper and the real gpg. Many of
# them wait, so four packages run at once. The timeout, for one package, is for
# tests that hang. With -race, the end of each would be delayed by a second.
test:
	@echo "== make test needs: Go and a C compiler, a ZooKeeper server with Java, gpg with pinentry-curses, sq, rnp,"
	@echo "   ip, openssl, curl, jq, xxd, promtool, zsh, fish, chromium, systemd-analyze, nft; root or user namespaces; 2 GB of free memory and 3 GB of free disk."
	@echo "   On Debian, as root, it installs what is missing. No test is skipped."
	@echo "== It takes up to 10 minutes to check and compile the first time, less than one later; then"
	@echo "   6 minutes to run, on two free processors. Packages are shown as they end."
	@scripts/test-deps
	@$(MAKE) --no-print-directory check compile
	@echo "== running the tests"
	@GORACE=atexit_sleep_ms=0 $(GOTEST) -p 4 -race -timeout 30m -tags $(TAGS) $(RACED)
	@echo "== running the tests of the program and of commands"
	@CGO_ENABLED=$(CGO_ENABLED) $(GOTEST) -p 4 -timeout 30m $(UNRACEDTEST)

# The tests of files *_long_test.go: faults at random, crashes at every write,
# thousands of watchers; and the tests that make test runs without -race, with it.
test-long:
	@echo "== make test-long needs what make test needs, npm, nginx, Prometheus, buildah, root, and Linux with network namespaces."
	@echo "== It takes up to 45 minutes on two free processors, after compiling."
	@scripts/test-deps long
	@$(MAKE) --no-print-directory compile TAGS=$(TAGS),long
	@echo "== running the long tests"
	@args=$$(scripts/long-tests) && $(GOTEST) -race -timeout 60m -tags $(TAGS),long $$args
	@echo "== running the long tests of the pages on ZooKeeper"
	@args=$$(scripts/long-tests ./cmd/secretstore/internal/webtest) && \
		WEBTEST_STORAGE=zookeeper $(GOTEST) -timeout 60m -tags $(TAGS),long $$args
	@echo "== running the tests of the program and of commands with -race"
	@$(GOTEST) -race -p 4 -timeout 30m -tags $(TAGS) $(UNRACED)

# With -race, so that the tests find compiled what vet had compiled.
check:
	@echo "== checking: gofmt, go vet, staticcheck"
	@test -z "$$(gofmt -l .)" || { echo "not gofmt'ed:"; gofmt -l .; exit 1; }
	@$(GO) vet -race -tags $(TAGS),long ./...
	@$(GO) tool staticcheck -tags $(TAGS),long ./...

# Compiles and links the tests without running them, and the program, which one
# of them builds again.
compile:
	@echo "== compiling the tests"
	@$(GO) tool gotestsum --version >/dev/null
	@$(MAKE) --no-print-directory -s build OUT=/dev/null
	@$(GO) test -race -tags $(TAGS) -run '^$$' -exec true $(RACED) >/dev/null
	@CGO_ENABLED=$(CGO_ENABLED) $(GO) test -run '^$$' -exec true $(UNRACEDTEST) >/dev/null

fuzz:
	scripts/fuzz $(FUZZTIME)

# Requests a second beside a bare net/http server, as ratios; see
# docs/performance.md. BENCHFLAGS="-case herd" runs one case; -help lists them.
bench: build
	scripts/test-deps
	$(GO) run ./scripts/bench $(BENCHFLAGS)

# Clients against three servers on three ZooKeepers that are killed, paused and
# cut off, and whether what they saw is linearizable. SEED repeats the faults of
# a run; a short one is part of the long tests.
chaos:
	scripts/test-deps
	CHAOSTIME=$(CHAOSTIME) SEED=$(SEED) $(GO) test -race -count=1 -timeout 0 -v -tags $(TAGS),long -run '^TestChaos$$' ./scripts/chaos

# Backups at random moments while clients write to three servers, and whether each is
# one state of what they wrote; some are part of the long tests.
BACKUPS ?= 50
backups:
	scripts/test-deps
	BACKUPS=$(BACKUPS) SEED=$(SEED) $(GO) test -race -count=1 -timeout 0 -v -tags $(TAGS),long \
		-run '^TestBackupsUnderLoadAreOneState$$' ./scripts/chaos

# The pictures of docs/web.md, as Chromium shows the pages now.
pictures:
	scripts/test-deps
	WEBTEST_PICTURES=$(CURDIR)/docs/images $(GO) test -count=1 -tags $(TAGS),long \
		-run '^TestPicturesOfTheDocumentation$$' ./cmd/secretstore/internal/webtest
