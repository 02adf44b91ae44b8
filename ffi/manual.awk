# Makes the manual page unistream(3) of include/unistream.h: the comment at its top by sections, then every function
# under its section, with what stands above it. Called with -v version=VERSION.
function plain(line) {
  gsub(/\\/, "\\e", line)
  gsub(/-/, "\\-", line)
  gsub(/`/, "", line)
  # A line that begins so would be an order to roff.
  if (line ~ /^[.']/) line = "\\&" line
  return line
}
BEGIN {
  printf ".TH UNISTREAM 3 \"\" \"unistream %s\" \"unistream\"\n.SH NAME\nunistream \\- an embedded, durable producer\n", version
  print ".SH SYNOPSIS\n.nf\n.B #include <unistream.h>\n.PP\ncc app.c $(pkg\\-config \\-\\-cflags \\-\\-libs unistream)\n.fi\n.SH DESCRIPTION\n.nf"
}
NR == 1 || NR == 2 || (NR == 3 && /^ \*$/) { next }
/^#ifndef UNISTREAM_H/ { top = 0; passed = 1 }
!passed && /^ \*\// { passed = 1; next }
!passed && /^ \* [A-Z]/ && wide { print ".fi\n.SH " plain(toupper(substr($0, 4))) "\n.nf"; next }
!passed { if ($0 == " *") wide = 1; print plain(substr($0, /^ \*   / ? 6 : 4)); next }
/^\/\* .* -----*/ { title = $0; sub(/^\/\* /, "", title); sub(/ -+ \*\/$/, "", title); if (!calls++) print ".fi\n.SH FUNCTIONS\n.nf"; print ".fi\n.SS " plain(title) "\n.nf"; next }
/^\/\*\*/ { doc = ""; in_doc = 1; next }
in_doc && /^ \*\// { in_doc = 0; next }
in_doc { doc = doc plain(substr($0, 4)) "\n"; next }
title && /^(UNISTREAM_MUST_USE|[a-z].*\()/ { in_call = 1; print ".fi\n.PP\n.nf" }
in_call { sub(/^UNISTREAM_MUST_USE /, ""); if ($0 != "UNISTREAM_MUST_USE") print ".B \"" plain($0) "\""; if (/;$/) { in_call = 0; print ".fi\n.RS 4\n.nf"; printf "%s", doc; print ".fi\n.RE\n.nf" } }
END { print ".fi\n.SH SEE ALSO\n.BR unistream (1),\nthe header unistream.h" }
