"""Regular expressions and JSON in strings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from latentloom.engine.errors import InputError
from latentloom.engine.node.ports import Between, Socket
from latentloom.engine.node.spec import node

from .ports import MAX_STRING_CHARS, Prompt

if TYPE_CHECKING:
    import regex

MAX_SECONDS = 5.0
"""A pattern that backtracks so long on its string is refused."""
Extraction = Literal["First Match", "All Matches", "First Group", "All Groups"]
GroupIndex = Annotated[int, Between(0, 100)]
Count = Annotated[int, Between(0, 100)]
Indent = Annotated[int, Between(0, 8)]
Array = Annotated[Any, Socket("ARRAY")]
Dictionary = Annotated[Any, Socket("DICT")]


class Matches(NamedTuple):
    """The output of RegexMatch."""

    matches: bool


@node("RegexMatch", category="text")
def match_pattern(
    string: Prompt,
    regex_pattern: Prompt,
    case_insensitive: bool = True,
    multiline: bool = False,
    dotall: bool = False,
) -> Matches:
    """Return whether a pattern occurs in a string; one that is not a pattern never does.

    Args:
        string: the string.
        regex_pattern: a regular expression of Python.
        case_insensitive: ignore case.
        multiline: ^ and $ are the ends of lines.
        dotall: a dot is also the end of a line.

    Raises:
        InputError: the pattern takes longer than five seconds.
    """
    pattern = _compile(regex_pattern, case_insensitive, multiline, dotall)
    if pattern is None:
        return Matches(False)
    with _bounded():
        return Matches(pattern.search(string, timeout=MAX_SECONDS) is not None)


@node("RegexExtract", category="text")
def extract_pattern(
    string: Prompt,
    regex_pattern: Prompt,
    mode: Extraction,
    case_insensitive: bool = True,
    multiline: bool = False,
    dotall: bool = False,
    group_index: GroupIndex = 1,
) -> str:
    """Return what a pattern matches in a string, one match a line; empty if it does not occur.

    Args:
        string: the string.
        regex_pattern: a regular expression of Python.
        mode: the first match or all of them, or one group of these; with groups, All Matches
            gives the first one of each match.
        case_insensitive: ignore case.
        multiline: ^ and $ are the ends of lines.
        dotall: a dot is also the end of a line.
        group_index: of the group, from 1; 0 is the match.

    Raises:
        InputError: the pattern takes longer than five seconds.
    """
    pattern = _compile(regex_pattern, case_insensitive, multiline, dotall)
    if pattern is None:
        return ""
    with _bounded():
        occurrences = pattern.finditer(string, timeout=MAX_SECONDS)
        group = 0 if mode == "First Match" else group_index
        if mode == "All Matches":
            group = min(pattern.groups, 1)
        if group > pattern.groups:
            return ""
        texts = (match.group(group) or "" for match in occurrences)
        return next(texts, "") if mode.startswith("First") else "\n".join(texts)


@node("RegexReplace", category="text")
def replace_pattern(
    string: Prompt,
    regex_pattern: Prompt,
    replace: Prompt,
    case_insensitive: bool = True,
    multiline: bool = False,
    dotall: bool = False,
    count: Count = 0,
) -> str:
    """Replace what a pattern matches in a string.

    Args:
        string: the string.
        regex_pattern: a regular expression of Python.
        replace: what replaces a match; \\\\1 and \\\\g<name> are its groups.
        case_insensitive: ignore case.
        multiline: ^ and $ are the ends of lines.
        dotall: a dot is also the end of a line.
        count: of matches that are replaced; 0 replaces all.

    Raises:
        InputError: the pattern or the replacement is not valid, the pattern takes longer than
            five seconds, or the result has more than a million characters.
    """
    import regex

    pattern = _compile(regex_pattern, case_insensitive, multiline, dotall)
    if pattern is None:
        raise InputError("regex_pattern", "a regular expression", repr(regex_pattern))
    parts, end, length = [], 0, len(string)
    with _bounded():
        for number, match in enumerate(pattern.finditer(string, timeout=MAX_SECONDS), 1):
            try:
                parts += [string[end : match.start()], match.expand(replace)]
            except (regex.error, IndexError) as error:
                raise InputError("replace", "a replacement of its groups", error) from None
            end = match.end()
            length += len(parts[-1])
            if length > MAX_STRING_CHARS:
                raise InputError(
                    "replace", f"a result of at most {MAX_STRING_CHARS} characters", "more"
                )
            if number == count:
                break
    return "".join((*parts, string[end:]))


@node("JsonExtractString", category="text")
def extract_json(json_string: Prompt, key: str) -> str:
    """Return a value of a JSON object as a string; empty if there is no such key, or for null.

    Args:
        json_string: an object of JSON.
        key: the key; a list or an object under it is returned as JSON.

    Raises:
        InputError: the string is not JSON.
    """
    try:
        data = json.loads(json_string)
    except (ValueError, RecursionError) as error:
        raise InputError("json_string", "JSON", error) from None
    value = data.get(key) if isinstance(data, dict) else None
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value)


@node("ConvertDictionaryToString", category="text")
def dictionary_to_json(dictionary: Dictionary, indent: Indent = 2) -> str:
    """Return a dictionary as JSON.

    Args:
        dictionary: the dictionary.
        indent: spaces of each level; 0 puts all on one line.
    """
    return _dump("dictionary", dictionary, indent)


@node("ConvertArrayToString", category="text")
def array_to_json(array: Array, indent: Indent = 2) -> str:
    """Return a list as JSON.

    Args:
        array: the list.
        indent: spaces of each level; 0 puts all on one line.
    """
    return _dump("array", array, indent)


def _dump(port: str, value: Any, indent: int) -> str:
    try:
        return json.dumps(value, indent=indent or None, ensure_ascii=False, default=list)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(port, "plain data", error) from None


def _compile(
    text: str, case_insensitive: bool, multiline: bool, dotall: bool
) -> regex.Pattern[str] | None:
    """Return a pattern; None if the string is none."""
    import regex

    flags = regex.IGNORECASE * case_insensitive | regex.MULTILINE * multiline
    try:
        return regex.compile(text, flags | regex.DOTALL * dotall)
    except (regex.error, RecursionError, OverflowError, MemoryError):
        return None


@contextmanager
def _bounded() -> Iterator[None]:
    """Raise InputError if a pattern takes too long."""
    try:
        yield
    except TimeoutError:
        expected = f"a pattern that takes at most {MAX_SECONDS:g} seconds"
        hint = "avoid repetitions inside repetitions, such as (a+)+"
        raise InputError("regex_pattern", expected, "one that takes longer", hint) from None
