# The two commands of the README are `make run` and `make test`.

GO ?= go
FUZZTIME ?= 20s

.PHONY: run build test check fuzz bench

# Builds the server and runs it for a newcomer: bbolt in ./.secretstore-dev, a
# generated token, and the next command to type.
run: build
	./secretstore server --dev

build:
	$(GO) build -o secretstore ./cmd/secretstore

# All tests, with a real ZooKeeper and the real gpg.
test: check
	scripts/test-deps
	$(GO) test -race -timeout 12m -tags zookeeper,gpg ./...

check:
	@test -z "$$(gofmt -l .)" || { echo "not gofmt'ed:"; gofmt -l .; exit 1; }
	$(GO) vet -tags zookeeper,gpg ./...

fuzz:
	scripts/fuzz $(FUZZTIME)

# Requests a second beside a bare net/http server, as ratios; see
# docs/performance.md.
bench: build
	scripts/test-deps
	$(GO) run ./scripts/bench $(BENCHFLAGS)
