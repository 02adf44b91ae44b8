# Sourced: installs what the tests of the HTTP sink need, at fixed versions: servers from PyPI into target/http, nginx and
# tinyproxy as the system packages them. Sets `root`, `here` and `place`.
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/http
place=${CARGO_TARGET_DIR:-$root/target}/http
mkdir -p "$place"
if ! cmp -s "$here/requirements.txt" "$place/requirements.txt"; then
    "${PYTHON:-python3}" -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$place/requirements.txt"
fi
"$root/tests/packages.sh" nginx=nginx-light tinyproxy
