# Sourced, from the root: installs what wheels are built and checked with, at fixed versions, into target/wheel-tools. Sets `place`.
place=${CARGO_TARGET_DIR:-$PWD/target}/wheel-tools
mkdir -p "$place"
if ! cmp -s tests/wheels/requirements.txt "$place/requirements.txt"; then
  "${PYTHON:-python3}" -m venv "$place/venv"
  "$place/venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r tests/wheels/requirements.txt
  cp tests/wheels/requirements.txt "$place/requirements.txt"
fi
