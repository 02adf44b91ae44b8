# Rules for what `make install` lays down; the Makefile includes this file.
CARGO ?= cargo
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include

.PHONY: install install-library install-command header

# Everything below $(DESTDIR)$(PREFIX)
install: install-library install-command

# libunistream, unistream.h and unistream.pc
install-library:
	$(CARGO) build --release --locked -p unistream-ffi
	PREFIX='$(PREFIX)' LIBDIR='$(LIBDIR)' INCLUDEDIR='$(INCLUDEDIR)' DESTDIR='$(DESTDIR)' ffi/install.sh

# The command unistream, its man pages, completions of shells
install-command:
	$(CARGO) build --release --locked -p unistream-cli
	PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' cli/install.sh

# Writes include/unistream.h anew from the source of the library.
header:
	UNISTREAM_WRITE_HEADER=1 $(CARGO) test --locked -p unistream-ffi --test header
