"""The text of native YAML: made to be read, and to be compared line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import yaml

from ..errors import FormatError
from ..graph.literal import describe_value
from .parsing import RESOLVERS

WIDTH, MAX_INLINE_CHARS = 100, 60
MAX_KEY_CHARS, MAX_SHORT_CHARS = 100, 100
NEVER_FOLDED = 2**30
_RARE_BREAKS = re.compile("[\x85\u2028\u2029\ufeff]")
_OPTIONS: Any = {"sort_keys": False, "allow_unicode": True, "width": NEVER_FOLDED}


def as_yaml(file: Mapping[str, Any]) -> str:
    """Return a file as YAML: one line for each node, graph input and position where it fits.

    A string with several lines, or a long one, is a block literal, so that a changed line is one
    changed line of the file.
    """
    return "".join(line for key, value in file.items() for line in _section(key, value))


def _section(key: str, value: Any) -> Iterator[str]:
    if key in ("inputs", "parts", "nodes", "expect") and value:
        yield f"{key}:\n"
        yield from (_entry(name, item, 1) for name, item in value.items())
    elif key in ("sweep", "layout") and isinstance(value, dict):
        yield f"{key}:\n"
        for name, part in value.items():
            yield from _layout(name, part)
    else:
        yield _block({key: value})


def _layout(name: str, part: Any) -> Iterator[str]:
    """Yield a part of the layout, with each of its items on a line."""
    heading = _plain(name)
    if isinstance(part, dict) and part and heading:
        yield f"  {heading}:\n"
        yield from (_entry(key, item, 2, NEVER_FOLDED) for key, item in part.items())
    elif isinstance(part, list) and part and heading:
        yield f"  {heading}:\n"
        yield from (_indent(_item(item), 2) for item in part)
    else:
        yield _entry(name, part, 1, NEVER_FOLDED)


def _item(value: Any) -> str:
    inline = None if _has_lines(value) else _inline([value])
    return f"- {inline[1:-1]}\n" if inline is not None else _block([value])


def _entry(name: str, value: Any, level: int, width: int = WIDTH) -> str:
    """Return the YAML of a key and its value: one line if it fits, else a block."""
    heading = _key(name)
    if isinstance(value, str) and heading and _is_literal(value):
        return _literal(heading, value, level)
    # Outside of braces more strings stand as they are.
    is_quoted = isinstance(value, str) and value != "" and not _is_word(value)
    inline = None if is_quoted or _has_lines(value) else _inline({name: value})
    if inline is not None:
        line = f"{'  ' * level}{inline[1:-1]}\n"
        # An explicit key (`? key : value`) means something else outside of the braces.
        if len(line) <= width and not line.lstrip().startswith("? "):
            return line
    if isinstance(value, dict) and value and heading:
        rows = (_entry(key, item, level + 1, width) for key, item in value.items())
        return f"{'  ' * level}{heading}:\n{''.join(rows)}"
    return _indent(_block({name: value}), level)


def inline_yaml(value: Any) -> str:
    """Return a value on one line, as it may stand inside of brackets.

    Raises:
        FormatError: it takes several lines.
    """
    inline = _inline([value])
    if inline is None:
        raise FormatError(f"{describe_value(value)} does not fit on one line of YAML")
    return inline[1:-1]


def _inline(value: Any) -> str | None:
    """Return a value on one line; None if it takes several."""
    plain = _plain(value)
    if plain is not None:
        return plain
    text: str = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, **_OPTIONS).strip()
    return text if "\n" not in text else None


def _plain(value: Any) -> str | None:
    """Return what the YAML library would write for a value on one line; None if it takes several.

    The library takes a millisecond for a node, which adds up in a large graph: it is asked for
    single strings only.
    """
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        items = [_plain(item) for item in value]
        return f"[{', '.join(map(str, items))}]" if None not in items else None
    if not isinstance(value, dict):
        return None
    pairs = [(_key(key), _plain(item)) for key, item in value.items()]
    if any(key is None or item is None for key, item in pairs):
        return None
    return f"{{{', '.join(f'{key}: {item}' for key, item in pairs)}}}"


def _key(key: Any) -> str | None:
    """Return a key as it stands before a colon; None if it needs the explicit form."""
    text = _plain(key) if key != "" else None
    return text if text is not None and len(text) <= MAX_KEY_CHARS else None


def _string(value: str) -> str | None:
    """Return a string without line breaks on one line; None for others."""
    if _is_word(value):
        return value
    if value.isascii() and value.isdigit():
        return f"'{value}'"
    return _quoted(value) if len(value) <= MAX_SHORT_CHARS else _quoted.__wrapped__(value)


def _is_word(text: str) -> bool:
    return _WORD.fullmatch(text) is not None and text.lower() not in _KEYWORDS


def _is_literal(text: str) -> bool:
    """Return whether a string is a block literal that the library would write as `_literal`."""
    if not _has_lines(text) or _LITERAL.fullmatch(text) is None:
        return False
    return " \n" not in text and not text.endswith((" ", "\n\n"))


def _literal(heading: str, text: str, level: int) -> str:
    mark = "|" if text.endswith("\n") else "|-"
    indent = "  " * (level + 1)
    rows = text.removesuffix("\n").split("\n")
    body = "".join(f"{indent}{row}\n" if row else "\n" for row in rows)
    return f"{'  ' * level}{heading}: {mark}\n{body}"


@lru_cache(maxsize=4096)
def _quoted(value: str) -> str | None:
    if "\n" in value:
        return None
    text: str = yaml.dump([value], Dumper=_Dumper, default_flow_style=True, **_OPTIONS)
    return text.removesuffix("\n")[1:-1] if text.count("\n") == 1 else None


# Strings that stand as they are in YAML, and mean a string in every version of it.
_WORD = re.compile(r"[A-Za-z_$](?:[A-Za-z0-9_./$ -]{0,98}[A-Za-z0-9_./$-])?")
_KEYWORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
# Strings whose block literal needs no indicator of its indentation, and no escapes.
_ODD = r"\x00-\x09\x0b-\x1f\x7f-\xa0\u2028\u2029\ud800-\uffff"
_LITERAL = re.compile(rf"[^\n {_ODD}][^{_ODD}]*")


def _indent(text: str, level: int) -> str:
    return "".join(f"{'  ' * level}{row}" if row != "\n" else row for row in _rows(text))


def _rows(text: str) -> list[str]:
    return [f"{row}\n" for row in text.removesuffix("\n").split("\n")]


def _has_lines(value: Any) -> bool:
    """Return whether a string inside is better read as a block."""
    if isinstance(value, str):
        return "\n" in value.strip("\n") or len(value) > MAX_INLINE_CHARS
    if isinstance(value, dict):
        return any(map(_has_lines, value.values()))
    return isinstance(value, list) and any(map(_has_lines, value))


def _block(value: Any) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, default_flow_style=False, **_OPTIONS)
    return text


class _Dumper(yaml.SafeDumper):
    """Quotes strings that this reader, or one of YAML 1.1, would not read as strings."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Quote strings with Unicode line breaks, which YAML folds into spaces unless escaped.

    Also those that end in an empty line, after which the library ends the whole document.
    """
    is_quoted = _RARE_BREAKS.search(text) or text == "\n" or text.endswith("\n\n")
    style = '"' if is_quoted else "|" if _has_lines(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


def _represent_float(dumper: _Dumper, value: float) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:float", repr(value))


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(float, _represent_float)
for _first, _resolvers in RESOLVERS.items():
    for _kind, _pattern in _resolvers:
        _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _pattern, [_first])
