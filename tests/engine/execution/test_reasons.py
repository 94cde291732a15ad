"""Reasons: a sentence for people and an object for machines, for every kind."""

from __future__ import annotations

import json

import pytest

from latentloom.engine.execution.reasons import (
    AskedFor,
    CallShared,
    Cancelled,
    Changed,
    CodeChanged,
    Evicted,
    FileChanged,
    InputsUnchanged,
    NeverRun,
    NoConsumerRuns,
    NotStored,
    Reason,
    RunsOnlyIfAsked,
    SavedFileMissing,
    SeveralChanges,
    StoredEntryCorrupt,
    Unchanged,
    Unneeded,
    UpstreamChanged,
    UpstreamFailed,
    reason_to_object,
)

DENOISE = Changed("denoise", "0.2", "0.25")
EXAMPLES = (
    (NeverRun(), "never run"),
    (DENOISE, "denoise 0.2 -> 0.25"),
    (FileChanged("image", "photo.png"), "file photo.png changed"),
    (UpstreamChanged("pass1"), "upstream pass1 changed"),
    (SeveralChanges((DENOISE, UpstreamChanged("a"))), "denoise 0.2 -> 0.25, upstream a changed"),
    (CodeChanged(), "the node's code or a setting changed"),
    (Evicted(), "evicted"),
    (NotStored(), "its outputs were not stored on disk"),
    (SavedFileMissing(), "a file that it saved is missing"),
    (StoredEntryCorrupt(), "its stored entry is corrupt"),
    (AskedFor("pick"), "asked for by pick"),
    (Unchanged(), "nothing it depends on changed"),
    (InputsUnchanged(DENOISE), "denoise 0.2 -> 0.25; its inputs turned out unchanged"),
    (CallShared(DENOISE), "denoise 0.2 -> 0.25; shared the call of an identical node"),
    (Unneeded(), "no output needs it"),
    (NoConsumerRuns(), "nothing that runs needs it"),
    (RunsOnlyIfAsked("pick"), "runs only if pick asks for it"),
    (UpstreamFailed("bad"), "upstream bad failed"),
    (Cancelled(), "cancelled"),
)


@pytest.mark.parametrize(("reason", "sentence"), EXAMPLES, ids=lambda value: str(value)[:30])
def test_a_reason_prints_as_its_sentence(reason: Reason, sentence: str) -> None:
    assert f"{reason}" == sentence


def test_every_kind_has_an_example_and_a_word_of_its_own() -> None:
    kinds = [reason.kind for reason, _ in EXAMPLES]
    assert len(set(kinds)) == len(kinds)
    assert set(kinds) == {subclass.kind for subclass in Reason.__subclasses__()}


def test_an_object_holds_the_kind_and_the_fields_of_nested_reasons() -> None:
    changed = {"kind": "changed", "input": "denoise", "before": "0.2", "after": "0.25"}
    several = InputsUnchanged(SeveralChanges((DENOISE, FileChanged(None, "look"))))
    decoded = json.loads(json.dumps(reason_to_object(several)))
    assert decoded == {
        "kind": "inputs_unchanged",
        "planned": {
            "kind": "several_changes",
            "changes": [changed, {"kind": "file_changed", "input": None, "path": "look"}],
        },
    }
