#!/bin/sh
# Builds the site into target/site/html, offline once the generator is installed. A link that leads nowhere is an error.
set -eu
cd "$(dirname "$0")/../.."
place=${CARGO_TARGET_DIR:-$PWD/target}/site
mkdir -p "$place"
if ! cmp -s docs/site/requirements.txt "$place/requirements.txt"; then
    "${PYTHON:-python3}" -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r docs/site/requirements.txt
    cp docs/site/requirements.txt "$place/requirements.txt"
fi
"${PYTHON:-python3}" docs/site/assemble.py "$place/pages"
wheel=${CARGO_TARGET_DIR:-$PWD/target}/venv/bin/python
if "$wheel" -c 'import unistream' 2> "$place/wheel.log"; then
    "$wheel" docs/site/python_page.py > "$place/pages/python-reference.md"
fi
"$place/venv/bin/mkdocs" build --quiet --strict --clean --config-file "$place/mkdocs.yml"
# What `cargo doc` has made, as `make lint` calls it.
rustdoc=${CARGO_TARGET_DIR:-$PWD/target}/doc
if [ -e "$rustdoc/unistream/index.html" ]; then
    mkdir -p "$place/html/rust"
    cp -R "$rustdoc/unistream" "$rustdoc/static.files" "$place/html/rust/"
fi
# Nothing on a page is fetched from elsewhere.
if grep -rlE '(src|href)="https?://[^"]*\.(js|css|woff2?)"' "$place/html" --include='*.html' --exclude-dir=rust; then
    echo "these pages load something from elsewhere" >&2
    exit 1
fi
echo "$place/html/index.html"
