#!/bin/sh
# Puts the bills of materials beside what was built in target/dist, and writes the checksums of all of it to SHA256SUMS. What a
# release must have is named: it fails if something is missing.
set -eu
cd "$(dirname "$0")/../.."
version=$(sed -n 's/^#define UNISTREAM_VERSION "\(.*\)"$/\1/p' include/unistream.h)
dist=target/dist
cp ffi/unistream.cdx.json "$dist/libunistream-$version.cdx.json"
cp cli/unistream.cdx.json "$dist/unistream-cli-$version.cdx.json"
cp python/unistream.cdx.json "$dist/unistream-python-$version.cdx.json"
missing=
for pattern in "unistream-$version.tar.gz" "unistream-$version-*manylinux_2_17_x86_64*.whl" "libunistream0_${version}_*.deb" \
  "libunistream-dev_${version}_*.deb" "unistream_${version}_*.deb" "unistream-$version.crate" "unistream-cli-$version.crate"; do
  # shellcheck disable=SC2086
  ls $dist/$pattern > /dev/null 2>&1 || missing="$missing $pattern"
done
if [ -n "$missing" ]; then
  echo "$dist has no$missing" >&2
  exit 1
fi
for bill in "$dist"/*.cdx.json; do
  "${PYTHON:-python3}" -c 'import json, sys; bill = json.load(open(sys.argv[1])); assert bill["bomFormat"] == "CycloneDX" and bill["components"], sys.argv[1]' "$bill"
done
cd "$dist"
rm -f SHA256SUMS ./*.sha256
sha256sum ./* | sed 's|\./||' > SHA256SUMS
sha256sum --quiet -c SHA256SUMS
cat SHA256SUMS
