# The two commands of the README, `make demo` and `make test`, install what
# they lack; everything else supposes that one of them ran.

GO       := ./internal/setup/go
VERSION  := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION)
PACKAGES := ./...

export CGO_ENABLED := 0

.PHONY: all build install vm-test torture setup setup-test demo test test-short test-diff bench generate fuzz vm clean

all: build

build: bin/bsdnet

bin/bsdnet: FORCE
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/bsdnet

FORCE:

# Debian packages and, if there is none that will do, a Go toolchain.
setup:
	./internal/setup/packages

# And what the tests need besides.
setup-test:
	./internal/setup/packages test

demo: setup build
	$(GO) run ./internal/demo

# All tests, with the kernels in QEMU.
test: setup-test build
	$(GO) vet $(PACKAGES)
	$(GO) test -count=1 -p 1 -timeout 40m $(PACKAGES)
	$(MAKE) --no-print-directory vm

# Without QEMU.
test-short: build
	$(GO) test -p 1 -short $(PACKAGES)

# pf in the data path against the reference, at length: about an hour.
test-diff:
	cd pf/difftest && BSDNET_DIFF_RULESETS=$(or $(RULESETS),10000) $(GO) test -count=1 -timeout 3h -run TestDifferential

# The daemon killed, rulesets replaced under traffic, packets that no sender
# means and the like, at length: about three hours. KILLS, in each of both
# builds; the other lengths are flags of the tests.
torture: build
	$(GO) test -count=1 -v -timeout 5h ./internal/torture -kills $(or $(KILLS),250) -reload-time 5m -flood-time 20s -live-frames 5000000
	$(GO) test -count=1 -v -timeout 2h -run 'TestMutated|TestDay' ./pf/difftest -mutations $(or $(MUTATIONS),1000000)
	$(GO) test -count=1 -v -run TestDay ./route

# Loads every program on Debian's 6.1 kernel.
vm: build
	$(GO) test -count=1 -v -timeout 30m -run 'TestVM' -tags vm ./internal/vm

# A firewall at home, in a Debian system in QEMU: boots, NAT, forwarded ports,
# reboots, and somebody who attacks all the time.
vm-test: setup-test build
	$(GO) test -count=1 -v -timeout 30m -run 'TestStory' -tags vm ./internal/vm

PREFIX  ?= /usr
DESTDIR ?=

install: build
	install -D -m 755 bin/bsdnet $(DESTDIR)$(PREFIX)/sbin/bsdnet
	install -D -m 644 man/bsdnet.8 $(DESTDIR)$(PREFIX)/share/man/man8/bsdnet.8
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|/usr/sbin/bsdnet|$(PREFIX)/sbin/bsdnet|' packaging/systemd/bsdnet.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/bsdnet.service
	chmod 644 $(DESTDIR)$(PREFIX)/lib/systemd/system/bsdnet.service
	install -m 644 packaging/systemd/run-bsdnet-bpf.mount $(DESTDIR)$(PREFIX)/lib/systemd/system
	for dir in networkd NetworkManager; do \
		install -d $(DESTDIR)$(PREFIX)/share/bsdnet/$$dir; \
		install -m 644 packaging/$$dir/* $(DESTDIR)$(PREFIX)/share/bsdnet/$$dir; \
	done
	install -d -m 755 $(DESTDIR)/etc/bsdnet

bench: setup-test build
	$(GO) test -count=1 -v -timeout 30m -tags bench -run 'TestBench' ./internal/bench
	$(GO) test -count=1 -run '^$$' -bench 'Thread' ./netisr
	$(GO) test -count=1 -run '^$$' -bench 'Broadcast' -benchtime 500000x ./route/rtsock
	$(GO) test -count=1 -v -run 'TestBigConfig' ./pf/conf

# Compiles the data path anew; a test compares the result with what is committed.
generate:
	$(GO) generate ./bpf

# Every fuzz target for a minute, or SECONDS=n.
fuzz:
	./internal/setup/fuzz $(or $(SECONDS),60)

clean:
	rm -rf bin .cache
