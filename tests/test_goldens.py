"""Every case that the reference was asked for is compared with.

The cases on models are run by test_parity.py, those without by nodes/test_ops_goldens.py; that
every tensor of a file is read is asserted there and in the tests of goldens/direct.
"""

from __future__ import annotations

import json

from tests.golden_files import FOLDER

CASES = set((FOLDER / "cases.txt").read_text().split())


def in_indexes() -> dict[str, list[str]]:
    """The files of each case on a model."""
    return {
        case["name"]: [*case["outputs"]]
        for index in sorted((FOLDER / "model").glob("index*.json"))
        for case in json.loads(index.read_text())["cases"]
    }


def test_every_case_is_compared() -> None:
    ops = {file.stem for file in (FOLDER / "ops").glob("*.safetensors")}
    assert CASES - ops - in_indexes().keys() == set()


def test_every_file_of_a_model_case_is_in_an_index() -> None:
    lying = {file.name for file in (FOLDER / "model" / "goldens").iterdir()}
    read = {file.removeprefix("goldens/") for files in in_indexes().values() for file in files}
    assert lying == read
