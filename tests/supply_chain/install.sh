# Sourced from the root: installs the tools of requirements.txt into target/supply_chain, and sets `tools`.
tools=${CARGO_TARGET_DIR:-target}/supply_chain
if ! cmp -s tests/supply_chain/requirements.txt "$tools/requirements.txt"; then
  "${PYTHON:-python3}" -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r tests/supply_chain/requirements.txt
  cp tests/supply_chain/requirements.txt "$tools/requirements.txt"
fi
