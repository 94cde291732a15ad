"""Strings: join, cut, replace, compare and format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter
from typing import Annotated, Any, Literal, NamedTuple

from latentloom.engine.errors import InputError
from latentloom.engine.graph.literal import describe_value
from latentloom.engine.node.ports import Between, Growing
from latentloom.engine.node.spec import node

from .ports import MAX_STRING_CHARS, AnyValue, Prompt

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
MAX_WIDTH_DIGITS = 3
_INDEX = re.compile(r"\[([^\[\]]+)\]")
_DIGITS = re.compile(r"[0-9]+")
Case = Literal["UPPERCASE", "lowercase", "Capitalize", "Title Case"]
Comparison = Literal["Starts With", "Ends With", "Equal"]
TrimmedSide = Literal["Both", "Left", "Right"]
Position = Annotated[int, Between(-(2**63 - 1), 2**63 - 1)]
Values = Annotated[dict[str, AnyValue], Growing("value", names=LETTERS, low=0)]


class Contains(NamedTuple):
    """The output of StringContains."""

    contains: bool


class Length(NamedTuple):
    """The length of a string in characters."""

    length: int


@node("PrimitiveStringMultiline", category="utilities/primitive")
def primitive_string_multiline(value: Prompt) -> str:
    """Return a string of several lines, to use for several inputs.

    Args:
        value: the string.
    """
    return value


@node("StringConcatenate", category="text")
def concatenate(string_a: Prompt, string_b: Prompt, delimiter: str = "") -> str:
    """Join two strings.

    Args:
        string_a, string_b: the strings.
        delimiter: what stands between them.

    Raises:
        InputError: the result would be longer than a million characters.
    """
    length = len(string_a) + len(delimiter) + len(string_b)
    if length > MAX_STRING_CHARS:
        expected = f"strings of at most {MAX_STRING_CHARS} characters together"
        raise InputError("string_b", expected, length)
    return delimiter.join((string_a, string_b))


@node("StringSubstring", category="text")
def cut(string: Prompt, start: Position, end: Position) -> str:
    """Return the part of a string between two positions.

    Args:
        string: the string.
        start: index of the first character, from 0; a negative one counts from the end.
        end: index after the last character; a negative one counts from the end.
    """
    return string[start:end]


@node("StringLength", category="text")
def measure(string: Prompt) -> Length:
    """Return the number of characters of a string.

    Args:
        string: the string.
    """
    return Length(len(string))


@node("CaseConverter", category="text")
def convert_case(string: Prompt, mode: Case) -> str:
    """Change the case of a string.

    Args:
        string: the string.
        mode: Capitalize changes the first letter only, Title Case that of every word.
    """
    convert = {
        "UPPERCASE": str.upper, "lowercase": str.lower, "Capitalize": str.capitalize,
        "Title Case": str.title,
    }  # fmt: skip
    return convert[mode](string)


@node("StringTrim", category="text")
def trim(string: Prompt, mode: TrimmedSide) -> str:
    """Remove white space from the ends of a string.

    Args:
        string: the string.
        mode: the ends.
    """
    strip = {"Both": str.strip, "Left": str.lstrip, "Right": str.rstrip}
    return strip[mode](string)


@node("StringReplace", category="text")
def replace(string: Prompt, find: Prompt, replace: Prompt) -> str:
    """Replace every occurrence of a string by another.

    Args:
        string: the string.
        find: what is replaced.
        replace: what replaces it.

    Raises:
        InputError: the result would be longer than a million characters.
    """
    length = len(string) + string.count(find) * (len(replace) - len(find))
    if length > MAX_STRING_CHARS:
        raise InputError("replace", f"a result of at most {MAX_STRING_CHARS} characters", length)
    return string.replace(find, replace)


@node("StringContains", category="text")
def contains(string: Prompt, substring: Prompt, case_sensitive: bool = True) -> Contains:
    """Return whether a string contains another.

    Args:
        string: the string.
        substring: what it may contain.
        case_sensitive: false ignores case.
    """
    if not case_sensitive:
        string, substring = string.lower(), substring.lower()
    return Contains(substring in string)


@node("StringCompare", category="text")
def compare(
    string_a: Prompt, string_b: Prompt, mode: Comparison, case_sensitive: bool = True
) -> bool:
    """Compare two strings.

    Args:
        string_a: the string.
        string_b: what it may start with, end with or equal.
        mode: the comparison.
        case_sensitive: false ignores case.
    """
    if not case_sensitive:
        string_a, string_b = string_a.lower(), string_b.lower()
    if mode == "Equal":
        return string_a == string_b
    is_start = mode == "Starts With"
    return string_a.startswith(string_b) if is_start else string_a.endswith(string_b)


@node("StringFormat", category="text")
def format_string(values: Values, f_string: Prompt = "{a}") -> str:
    """Put values into a string, as Python's `str.format` does: `{a:05d}`, `{b[0]}`, `{{`.

    Args:
        values: the values a to z, of any type.
        f_string: the string with their names in braces; attributes are not read.

    Raises:
        InputError: the string has wrong braces, a name without a value, a format that does not
            fit its value, or a result of more than a million characters.
    """
    try:
        fields = list(Formatter().parse(f_string))
    except ValueError as error:
        raise InputError("f_string", "a string with matching braces", error) from None
    parts, length = [], 0
    for literal, field, form, conversion in fields:
        parts.append(literal)
        if field is not None:
            parts.append(_format_field(values, field, form or "", conversion or ""))
        length += sum(map(len, parts[-2:]))
        if length > MAX_STRING_CHARS:
            raise InputError(
                "f_string", f"a result of at most {MAX_STRING_CHARS} characters", "more"
            )
    return "".join(parts)


def _format_field(values: Mapping[str, Any], field: str, form: str, conversion: str) -> str:
    name, indices = field.partition("[")[0], _INDEX.findall(field)
    if name not in values or _INDEX.sub("", field) != name:
        expected = f"names of values ({', '.join(values) or 'none'}), with indices at most"
        raise InputError("f_string", expected, f"{{{field}}}")
    if "{" in form or any(len(digits) > MAX_WIDTH_DIGITS for digits in _DIGITS.findall(form)):
        raise InputError("f_string", "a format with a width below 1000", f"{{{field}:{form}}}")
    value = values[name]
    try:
        for index in indices:
            value = value[int(index) if index.isdecimal() else index]
        if conversion:
            value = {"r": repr, "a": ascii}.get(conversion, str)(value)
        return format(value if _is_plain(value) else describe_value(value), form)
    except (ValueError, TypeError, LookupError) as error:
        got = f"{{{field}:{form}}} for {describe_value(value)}: {error}"
        raise InputError("f_string", "formats that fit the values", got) from None


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)
