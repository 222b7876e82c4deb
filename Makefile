# make          build bin/machd and bin/machctl
# make help     the other targets

PREFIX  ?= /usr
DESTDIR ?=
GO      ?= go
VERSION ?= $(or $(shell git describe --tags --always --dirty 2>/dev/null),unknown)

LIBEXECDIR = $(PREFIX)/libexec
BINDIR     = $(PREFIX)/bin
UNITDIR    = $(PREFIX)/lib/systemd/system
GENERATORS = $(PREFIX)/lib/systemd/system-generators
USERDIR    = $(PREFIX)/lib/systemd/user
# The system bus reads its policy nowhere else.
BUSDIR     = $(if $(filter /usr,$(PREFIX)),/usr/share,/etc)/dbus-1/system.d
POLKITDIR  = $(PREFIX)/share/polkit-1/actions
MANDIR     = $(PREFIX)/share/man
BASHDIR    = $(PREFIX)/share/bash-completion/completions
FISHDIR    = $(PREFIX)/share/fish/vendor_completions.d
# Debian's zsh looks in a directory of its own below /usr.
ZSHDIR     = $(PREFIX)/share/zsh/$(if $(and $(filter /usr,$(PREFIX)),$(wildcard /etc/debian_version)),vendor-completions,site-functions)

# Everything that is installed, as MODE:SOURCE:TARGET. install and uninstall
# both work from this list. No name in it may belong to a systemd package.
FILES = \
	755:bin/machd:$(LIBEXECDIR)/machd \
	755:bin/machctl:$(BINDIR)/machctl \
	644:client/cmd/machctl/completion/machctl.bash:$(BASHDIR)/machctl \
	644:client/cmd/machctl/completion/machctl.zsh:$(ZSHDIR)/_machctl \
	644:client/cmd/machctl/completion/machctl.fish:$(FISHDIR)/machctl.fish \
	$(foreach f,$(wildcard systemd-units/*.service systemd-units/*.socket systemd-units/*.target),644:$(f):$(UNITDIR)/$(notdir $(f))) \
	$(foreach f,$(wildcard systemd-units/generators/*),755:$(f):$(GENERATORS)/$(notdir $(f))) \
	$(foreach f,$(wildcard systemd-units/user/*),644:$(f):$(USERDIR)/$(notdir $(f))) \
	$(foreach f,$(wildcard dbus-policy/*.conf),644:$(f):$(BUSDIR)/$(notdir $(f))) \
	$(foreach f,$(wildcard dbus-policy/*.policy),644:$(f):$(POLKITDIR)/$(notdir $(f))) \
	$(foreach n,1 5 8,$(foreach f,$(wildcard man/*.$(n)),644:$(f):$(MANDIR)/man$(n)/$(notdir $(f))))

BUILD = CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-X main.version=$(VERSION)"

.PHONY: all install uninstall host demo check bench picture clean help bin/machd bin/machctl bin/testhost

all: bin/machd bin/machctl

bin/machd:
	$(BUILD) -o $@ ./daemon/cmd/machd

bin/machctl:
	$(BUILD) -o $@ ./client/cmd/machctl

bin/testhost:
	$(GO) build -o $@ ./test/testhost

# Only what `make` has built is installed: root need not have Go. The units
# name the programs where PREFIX puts them.
install:
	@for f in $(FILES); do \
		mode=$${f%%:*}; rest=$${f#*:}; from=$${rest%%:*}; to="$(DESTDIR)$${rest#*:}"; \
		test -e "$$from" || { echo "$$from is missing: run make first" >&2; exit 1; }; \
		install -D -m "$$mode" "$$from" "$$to" || exit 1; \
		case "$$from" in *.service|*-generator) sed -i "s,\([= ]\)/usr/libexec/,\1$(LIBEXECDIR)/,; s,=/usr/bin/,=$(BINDIR)/," "$$to" || exit 1;; esac; \
	done

# Links to units that are gone would leave the host without any machine manager.
uninstall:
	@if find $(DESTDIR)/etc/systemd/system -type l -lname '*/machd.*' 2>/dev/null | grep -q .; then \
		echo "machd is enabled: systemctl disable --now machd.socket machd.service goes first" >&2; exit 1; fi
	@for f in $(FILES); do rm -f "$(DESTDIR)$${f##*:}" || exit 1; done

host: bin/testhost
	@bin/testhost shell

demo: bin/testhost
	@bin/testhost demo

check:
	@$(GO) run ./test/check

bench: all bin/testhost
	@CGO_ENABLED=0 $(GO) build -trimpath -o bin/bench ./test/bench
	@bin/testhost run --disabled --others -- /src/bin/bench

# The picture in the README: what a terminal shows, taken from a real one.
picture: bin/testhost
	@CGO_ENABLED=0 $(GO) build -o bin/picture ./test/picture
	@bin/testhost run --quiet -- /src/bin/picture capture > bin/screen.txt
	@mv bin/screen.txt test/picture/screen.txt
	@bin/picture render test/picture/screen.txt > docs/machctl.svg

clean:
	rm -rf bin

help:
	@echo "make            build bin/machd and bin/machctl"
	@echo "make install    install them, their units and policies (DESTDIR=, PREFIX=/usr)"
	@echo "make uninstall  remove exactly what install installs"
	@echo "make host       a shell in a booted systemd in a container, machd in place, c8-ns to play with"
	@echo "make demo       the book's session in such a host, each answer checked"
	@echo "make check      every test there is"
	@echo "make bench      machd beside systemd-machined, measured"
	@echo "make picture    the picture in the README, from such a host"
	@echo "make clean      remove bin"
