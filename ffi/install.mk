# Rules for what `make install` lays down; the Makefile includes this file.
CARGO ?= cargo
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include

MANDIR ?= $(PREFIX)/share/man

.PHONY: install install-library install-command uninstall dist deb header

# Everything below $(DESTDIR)$(PREFIX)
install: install-library install-command

PLACES = PREFIX='$(PREFIX)' LIBDIR='$(LIBDIR)' INCLUDEDIR='$(INCLUDEDIR)' MANDIR='$(MANDIR)' DESTDIR='$(DESTDIR)'

# libunistream, unistream.h and what compilers, pkg-config, CMake, man and debuggers look for
install-library:
	RUSTFLAGS="$$(ffi/remap.sh)" $(CARGO) build --release --locked -p unistream-ffi
	$(PLACES) ffi/install.sh

# The command unistream, its man pages, completions of shells
install-command:
	RUSTFLAGS="$$(ffi/remap.sh)" $(CARGO) build --release --locked -p unistream-cli
	$(PLACES) cli/install.sh

# What `install` with the same places has laid down
uninstall:
	$(PLACES) REMOVE=1 ffi/install.sh
	$(PLACES) REMOVE=1 cli/install.sh

# The source, as it is committed, with its checksum, in target/dist
dist:
	mkdir -p target/dist
	name=unistream-$$(sed -n 's/^.define UNISTREAM_VERSION "\(.*\)"$$/\1/p' include/unistream.h) && \
	  git archive --format=tar.gz --prefix="$$name/" --output="target/dist/$$name.tar.gz" HEAD && \
	  cd target/dist && sha256sum "$$name.tar.gz" > "$$name.tar.gz.sha256"

# Packages for Debian in target/dist: libunistream0, libunistream-dev, unistream, and their debug information
deb:
	@command -v dh > /dev/null || { echo "make deb needs debhelper: apt-get install debhelper"; exit 1; }
	rm -rf target/deb && mkdir -p target/deb target/dist
	cp -R debian target/deb/
	cd target/deb && ROOT='$(CURDIR)' debian/rules binary

# Writes include/unistream.h anew from the source of the library.
header:
	UNISTREAM_WRITE_HEADER=1 $(CARGO) test --locked -p unistream-ffi --test header
