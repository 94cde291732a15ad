"""Numbers: expressions, conversions, seeds and image sizes."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from latentloom.engine.errors import InputError
from latentloom.engine.node.ports import Between, Growing, Seeded, Socket
from latentloom.engine.node.spec import node

from .ports import Prompt

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
MAX_EXPRESSION_CHARS = 4000
MAX_BITS = 4096
"""Size of an integer that an expression may reach by a power or a shift."""
MAX_DIGITS = 400
PIXELS_PER_MEGAPIXEL = 1024 * 1024
Number = Annotated[Any, Socket("FLOAT,INT,BOOLEAN")]
Numbers = Annotated[dict[str, Number], Growing("value", names=LETTERS)]
Convertible = Annotated[Any, Socket("INT,FLOAT,STRING,BOOLEAN")]
PlainSeed = Annotated[int, Between(0, 2**63 - 1), Seeded()]
TargetMegapixels = Annotated[float, Between(0.1, 16.0, step=0.1)]
TargetMultiple = Annotated[int, Between(8, 128, step=4)]
AspectRatio = Literal[
    "1:1 (Square)",
    "2:3 (Portrait Photo)",
    "3:2 (Photo)",
    "3:4 (Portrait Standard)",
    "4:3 (Standard)",
    "9:16 (Portrait Widescreen)",
    "16:9 (Widescreen)",
    "21:9 (Ultrawide)",
]


class Calculated(NamedTuple):
    """A number in three types."""

    FLOAT: float
    INT: int
    BOOL: bool


class Converted(NamedTuple):
    """A number in two types."""

    FLOAT: float
    INT: int


class SeedValue(NamedTuple):
    """A seed."""

    seed: int


class Resolution(NamedTuple):
    """The size of an image in pixels."""

    width: int
    height: int


@node("ComfyMathExpression", category="utilities")
def calculate(*, expression: Prompt = "a + b", values: Numbers) -> Calculated:
    """Calculate an expression of numbers.

    Args:
        expression: with + - * / // % **, comparisons, and, or, not, `x if y else z`, bitwise
            operators, and sum, min, max, abs, round, pow, sqrt, ceil, floor, log, log2, log10,
            sin, cos, tan, int and float.
        values: the numbers a to z.

    Raises:
        InputError: the expression is not valid, too large, or its result is not a finite number.
    """
    result = _evaluate(expression, values)
    try:
        return Calculated(float(result), int(result), bool(result))
    except (OverflowError, ValueError):
        raise InputError("expression", "a finite result", str(result)[:80]) from None


@node("ComfyNumberConvert", category="utilities")
def convert_number(value: Convertible) -> Converted:
    """Return a number, a boolean or a string as a number; the integer is cut towards 0.

    Args:
        value: the value; a string is read as Python reads a number.

    Raises:
        InputError: the string is not a finite number.
    """
    try:
        integer = int(value) if isinstance(value, int) else int(float(value))
        if isinstance(value, str) and value.strip().lstrip("+-").isdecimal():
            integer = int(value)
        return Converted(float(value), integer)
    except (ValueError, OverflowError):
        raise InputError("value", "a finite number", repr(value)[:80]) from None


@node("SeedNode", category="utilities")
def give_seed(seed: PlainSeed) -> SeedValue:
    """Return a seed, to use for several inputs.

    Args:
        seed: the seed.
    """
    return SeedValue(seed)


@node("ResolutionSelector", category="utilities")
def select_resolution(
    aspect_ratio: AspectRatio = "1:1 (Square)",
    megapixels: TargetMegapixels = 1.0,
    multiple: TargetMultiple = 8,
) -> Resolution:
    """Return the size of an image from its aspect ratio and number of pixels.

    Args:
        aspect_ratio: width to height.
        megapixels: of 1024·1024 pixels.
        multiple: width and height are rounded to multiples of this.
    """
    across, down = map(int, aspect_ratio.partition(" ")[0].split(":"))
    area = megapixels * PIXELS_PER_MEGAPIXEL
    sides = math.sqrt(area * across / down), math.sqrt(area * down / across)
    width, height = (max(1, round(side / multiple)) * multiple for side in sides)
    return Resolution(width, height)


def _evaluate(expression: str, values: Mapping[str, Any]) -> float:
    import simpleeval

    if len(expression) > MAX_EXPRESSION_CHARS:
        expected = f"at most {MAX_EXPRESSION_CHARS} characters"
        raise InputError("expression", expected, len(expression))
    evaluator = simpleeval.SimpleEval(functions=_FUNCTIONS, names=dict(values))
    evaluator.operators |= {ast.Pow: _power, ast.LShift: _shift}
    try:
        parsed = ast.parse(expression.strip(), mode="eval")
        for part in ast.walk(parsed):
            is_number = not isinstance(part, ast.Constant) or isinstance(part.value, int | float)
            if not isinstance(part, _ALLOWED) or not is_number:
                raise ValueError(f"{type(part).__name__} is not of numbers")
        result = evaluator.eval(expression, previously_parsed=parsed.body)
    except (
        simpleeval.InvalidExpression, SyntaxError, ArithmeticError, ValueError, TypeError,
        RecursionError, MemoryError,
    ) as error:  # fmt: skip
        raise InputError("expression", "an expression of numbers", error) from None
    if not isinstance(result, int | float):
        raise InputError("expression", "a number", repr(result)[:80])
    return result


_ALLOWED = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.Name,
    ast.Load, ast.Constant, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip


def _power(base: float, exponent: float) -> Any:
    is_integral = isinstance(base, int) and isinstance(exponent, int)
    if is_integral and abs(int(base)).bit_length() * abs(exponent) > MAX_BITS:
        raise ValueError(f"{base} ** {exponent} is too large")
    return base**exponent


def _shift(value: int, count: int) -> int:
    if abs(value).bit_length() + count > MAX_BITS:
        raise ValueError(f"{value} << {count} is too large")
    return value << count


def _round(value: float, digits: int = 0) -> float:
    if abs(digits) > MAX_DIGITS:
        raise ValueError(f"{digits} digits are too many")
    return round(value, digits) if digits else round(value)


def _as_int(value: float) -> int:
    if not isinstance(value, int | float):
        raise TypeError(f"int takes a number, got {value!r}")
    return int(value)


def _as_float(value: float) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"float takes a number, got {value!r}")
    return float(value)


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "sum": lambda *values: sum(values), "min": min, "max": max, "abs": abs, "round": _round,
    "pow": _power, "sqrt": math.sqrt, "ceil": math.ceil, "floor": math.floor, "log": math.log,
    "log2": math.log2, "log10": math.log10, "sin": math.sin, "cos": math.cos, "tan": math.tan,
    "int": _as_int, "float": _as_float,
}  # fmt: skip
