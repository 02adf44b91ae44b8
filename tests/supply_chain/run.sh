#!/bin/sh
# What we build from: where crates come from, under which licences, none twice, none that draws random numbers while
# building; hashes for all that pip installs; the notices and bills of materials that are packaged say what is linked.
#   tests/supply_chain/run.sh --advisories     instead, the known advisories, which need the network
set -eu
cd "$(dirname "$0")/../.."
. tests/supply_chain/install.sh
deny=$tools/bin/cargo-deny
if [ "${1:-}" = --advisories ]; then
  exec "$deny" --locked --log-level warn --all-features check advisories
fi
"$deny" --locked --log-level error --exclude-dev --exclude unistream-torture check bans
"$deny" --locked --log-level error --all-features check licenses sources
"${PYTHON:-python3}" tests/supply_chain/notices.py --check
for list in $(git ls-files '*requirements.txt'); do
  # Every requirement is continued by a line with a hash.
  if grep -n '==' "$list" | grep -v ' \\$'; then
    echo "$list: the lines above have no hashes; make requirements"
    exit 1
  fi
done
if git grep -nE 'pip"? install .*requirements\.txt' -- '*.sh' Makefile | grep -v require-hashes; then
  echo "the lines above install without --require-hashes"
  exit 1
fi
