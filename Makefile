# The two commands of the README are `make run` and `make test`.

GO ?= go
FUZZTIME ?= 20s
CHAOSTIME ?= 5m

.PHONY: run build test check fuzz bench chaos

# Builds the server and runs it for a newcomer: bbolt in ./.secretstore-dev, a
# generated token, and the next command to type.
run: build
	./secretstore server --dev

# Static, for containers without libc.
build:
	CGO_ENABLED=0 $(GO) build -o secretstore ./cmd/secretstore

# All tests, with a real ZooKeeper and the real gpg. Those that mostly wait come first, beside
# what needs the processors.
test: check
	scripts/test-deps
	$(GO) test -race -timeout 12m -tags zookeeper,gpg ./scripts/chaos ./...

# With -race, so that the tests find compiled what vet had compiled.
check:
	@test -z "$$(gofmt -l .)" || { echo "not gofmt'ed:"; gofmt -l .; exit 1; }
	$(GO) vet -race -tags zookeeper,gpg ./...

fuzz:
	scripts/fuzz $(FUZZTIME)

# Requests a second beside a bare net/http server, as ratios; see
# docs/performance.md.
bench: build
	scripts/test-deps
	$(GO) run ./scripts/bench $(BENCHFLAGS)

# Clients against three servers on three ZooKeepers that are killed, paused and
# cut off, and whether what they saw is linearizable. SEED repeats the faults of
# a run; a short one is part of the tests.
chaos:
	scripts/test-deps
	CHAOSTIME=$(CHAOSTIME) SEED=$(SEED) $(GO) test -race -count=1 -timeout 0 -v -tags zookeeper -run '^TestChaos$$' ./scripts/chaos
