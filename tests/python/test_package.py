"""What a wheel carries besides its code."""

import importlib.metadata
import json


def carried(end: str) -> str:
    files = importlib.metadata.files("unistream")
    assert files is not None
    (found,) = (file for file in files if str(file).endswith(end))
    return found.read_text()


def test_the_wheel_carries_the_licences_of_all_that_is_linked() -> None:
    assert carried("licenses/LICENSE-MIT").startswith("MIT License")
    assert "Apache License" in carried("licenses/LICENSE-APACHE")
    notices = carried("licenses/THIRD-PARTY-NOTICES.txt")
    assert "\nring 0." in notices
    assert "\npyo3 0." in notices


def test_the_wheel_carries_a_bill_of_materials_that_names_no_time_and_no_machine() -> None:
    bill = json.loads(carried("sboms/unistream.cdx.json"))
    assert bill["bomFormat"] == "CycloneDX"
    names = {component["name"] for component in bill["components"]}
    assert {"unistream", "pyo3", "ring", "rustls"} <= names
    assert "serialNumber" not in bill
    assert "timestamp" not in bill["metadata"]
    assert "file:" not in json.dumps(bill)
