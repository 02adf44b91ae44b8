#!/bin/sh
# Runs the tests beside the predecessor, unistream 0.1.2, which lives in a place of its own, and with its plugin, which is
# installed beside the wheel of this checkout. Arguments go to pytest.
set -eu
cd "$(dirname "$0")/../.."
place=${CARGO_TARGET_DIR:-$PWD/target}/compat
mkdir -p "$place"

# install NAME REQUIREMENTS: a place with what is pinned, made anew when that changes.
install() {
    if ! cmp -s "$2" "$place/$1.txt"; then
        "${PYTHON:-python3}" -m venv --clear "$place/$1"
        "$place/$1/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$2"
        cp "$2" "$place/$1.txt"
    fi
}
install old tests/compat/old/requirements.txt
install new tests/compat/requirements.txt

python=$place/new/bin/python
python/install.sh
# The plugin came with the predecessor. This version takes its place, and what that alone needed goes.
"$python" -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps target/wheels/unistream-*.whl
"$python" -m pip uninstall --quiet --disable-pip-version-check --yes tenacity vislog 2> "$place/uninstall.log"
"$python" -m pip check --quiet --disable-pip-version-check
export COMPAT_TEST_OLD="$place/old/bin/python"
exec "$python" -m pytest -q -c python/pyproject.toml --rootdir . -p no:cacheprovider tests/compat "$@"
