# Rules for the C library; the Makefile includes this file.
CARGO ?= cargo
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include

.PHONY: install header

# libunistream, unistream.h and unistream.pc, below $(DESTDIR)$(PREFIX)
install:
	$(CARGO) build --release --locked -p unistream-ffi
	PREFIX='$(PREFIX)' LIBDIR='$(LIBDIR)' INCLUDEDIR='$(INCLUDEDIR)' DESTDIR='$(DESTDIR)' ffi/install.sh

# Writes include/unistream.h anew from the source of the library.
header:
	UNISTREAM_WRITE_HEADER=1 $(CARGO) test --locked -p unistream-ffi --test header
