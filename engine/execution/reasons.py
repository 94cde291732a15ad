"""Why a node runs, is reused or is skipped: one record for each case.

Plan steps, node reports and events carry these records. `describe` makes the sentence that people
read, and so does `str(reason)`; `reason_to_object` makes the object that JSON carries.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Reason:
    """Base of all reasons; `kind` is a stable word for machines."""

    kind: ClassVar[str]

    def __str__(self) -> str:
        return describe(self)


@dataclass(frozen=True, slots=True)
class NeverRun(Reason):
    """No earlier run of this node is known."""

    kind = "never_run"


@dataclass(frozen=True, slots=True)
class Changed(Reason):
    """An input has another value, or another link, than at the last run.

    Attributes:
        before, after: the values as a graph writes them; None where the node had no such input.
    """

    kind = "changed"
    input: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class FileChanged(Reason):
    """A file has another content than at the last run.

    Attributes:
        input: the input that names the file; None for a file that the node reads by itself.
        path: the file as the graph or the node names it.
    """

    kind = "file_changed"
    input: str | None
    path: str


@dataclass(frozen=True, slots=True)
class UpstreamChanged(Reason):
    """A node that this one is linked to changed."""

    kind = "upstream_changed"
    node: str


@dataclass(frozen=True, slots=True)
class SeveralChanges(Reason):
    """Several inputs changed.

    Attributes:
        changes: in the order of the node's inputs.
    """

    kind = "several_changes"
    changes: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class CodeChanged(Reason):
    """The inputs are those of the last run; the node's code, or a switch of its pack, is not."""

    kind = "code_changed"


@dataclass(frozen=True, slots=True)
class Evicted(Reason):
    """Its outputs were computed in this process, and have left the cache."""

    kind = "evicted"


@dataclass(frozen=True, slots=True)
class NotStored(Reason):
    """An earlier process computed its outputs, and did not store them on disk."""

    kind = "not_stored"


@dataclass(frozen=True, slots=True)
class SavedFileMissing(Reason):
    """Its outputs are cached, and a file that it saved is missing."""

    kind = "saved_file_missing"


@dataclass(frozen=True, slots=True)
class StoredEntryCorrupt(Reason):
    """Its entry on disk failed the check when it was read."""

    kind = "stored_entry_corrupt"


@dataclass(frozen=True, slots=True)
class AskedFor(Reason):
    """A node asked for it during the run: for a lazy input, or as its stored entry is corrupt."""

    kind = "asked_for"
    node: str


@dataclass(frozen=True, slots=True)
class Unchanged(Reason):
    """It is reused: nothing that decides its outputs changed."""

    kind = "unchanged"


@dataclass(frozen=True, slots=True)
class InputsUnchanged(Reason):
    """It is reused after all: the nodes above ran again and gave the same outputs.

    Attributes:
        planned: why it was to run.
    """

    kind = "inputs_unchanged"
    planned: Reason


@dataclass(frozen=True, slots=True)
class CallShared(Reason):
    """It is reused after all: an identical node was running, and gave its outputs to both.

    Attributes:
        planned: why it was to run.
    """

    kind = "call_shared"
    planned: Reason


@dataclass(frozen=True, slots=True)
class Unneeded(Reason):
    """It is skipped: no target depends on it."""

    kind = "unneeded"


@dataclass(frozen=True, slots=True)
class NoConsumerRuns(Reason):
    """It is skipped: all nodes that read its outputs are reused or skipped."""

    kind = "no_consumer_runs"


@dataclass(frozen=True, slots=True)
class RunsOnlyIfAsked(Reason):
    """It is skipped unless a node with lazy inputs asks for it."""

    kind = "runs_only_if_asked"
    node: str


@dataclass(frozen=True, slots=True)
class UpstreamFailed(Reason):
    """It is skipped: a node that it is linked to failed, or was skipped for the same reason."""

    kind = "upstream_failed"
    node: str


@dataclass(frozen=True, slots=True)
class Cancelled(Reason):
    """It is skipped or was stopped: the run was cancelled."""

    kind = "cancelled"


def describe(reason: Reason) -> str:
    """Return the sentence that people read."""
    match reason:
        case Changed(input, before, after):
            return f"{input} {before} -> {after}"
        case FileChanged(_, path):
            return f"file {path} changed"
        case UpstreamChanged(node):
            return f"upstream {node} changed"
        case SeveralChanges(changes):
            return ", ".join(map(describe, changes))
        case AskedFor(node):
            return f"asked for by {node}"
        case RunsOnlyIfAsked(node):
            return f"runs only if {node} asks for it"
        case UpstreamFailed(node):
            return f"upstream {node} failed"
        case InputsUnchanged(planned):
            return f"{describe(planned)}; its inputs turned out unchanged"
        case CallShared(planned):
            return f"{describe(planned)}; shared the call of an identical node"
    return SENTENCES[reason.__class__]


SENTENCES: dict[type[Reason], str] = {
    NeverRun: "never run",
    CodeChanged: "the node's code or a setting changed",
    Evicted: "evicted",
    NotStored: "its outputs were not stored on disk",
    SavedFileMissing: "a file that it saved is missing",
    StoredEntryCorrupt: "its stored entry is corrupt",
    Unchanged: "nothing it depends on changed",
    Unneeded: "no output needs it",
    NoConsumerRuns: "nothing that runs needs it",
    Cancelled: "cancelled",
}


def reason_to_object(reason: Reason) -> dict[str, Any]:
    """Return a reason as an object for JSON: its kind and its fields."""
    values = {field.name: _plain(getattr(reason, field.name)) for field in fields(reason)}
    return {"kind": reason.kind, **values}


def _plain(value: Any) -> Any:
    if isinstance(value, Reason):
        return reason_to_object(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
