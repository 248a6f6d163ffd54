"""Decides whether an answer to a held-out item is right. Standard library.

facts+json: the whole answer is one line of JSON with exactly the keys
`answer` and `topic`, and `answer` is the value asked for. `topic` is free.
words+python: the whole answer is one line, print(expression), and the
expression is arithmetic whose result is the number asked for.
"""

import ast
import json
import math
import operator
import re

_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub,
              ast.Mult: operator.mul, ast.Div: operator.truediv,
              ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod}


def _plain(value):
    text = re.sub(r"\s+", " ", str(value)).strip().strip(".").lower()
    return re.sub(r"^(the|a|an|one) ", "", text)


def _same_value(kind, got, expected):
    if kind == "price":  # "47", 47 and "47 silver coins" say the same
        number = expected.split()[0]
        return re.fullmatch(rf"{number}( (silver )?coins)?",
                            _plain(got)) is not None
    return _plain(got) == _plain(expected)


def json_shape(text):
    """The parsed object if `text` has the JSON skill's shape, else None."""
    text = text.strip()
    if "\n" in text:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if not isinstance(value, dict) or set(value) != {"answer", "topic"}:
        return None
    return value


def _evaluate(node):
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_evaluate(node.left),
                                         _evaluate(node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluate(node.operand)
    raise ValueError("not plain arithmetic")


def printed_value(text):
    """The number that one line `print(expression)` prints, else None.

    Nothing is executed: the expression's tree is walked, and it may hold
    numbers, + - * / // % and parentheses only.
    """
    text = text.strip()
    match = re.fullmatch(r"print\((.*)\)", text)
    if match is None or len(text) > 200:
        return None
    try:
        return _evaluate(ast.parse(match.group(1), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError,
            RecursionError, MemoryError):
        return None


def well_formed(item, text):
    """True if the answer has the shape that the pair's second skill gives."""
    if item["pair"] == "facts+json":
        return json_shape(text) is not None
    return printed_value(text) is not None


def is_right(item, text):
    """True if `text` is what the item asks for, in value and in shape."""
    if item["pair"] == "facts+json":
        value = json_shape(text)
        return value is not None and _same_value(
            item["kind"], value["answer"], item["expect"])
    value = printed_value(text)
    return value is not None and math.isclose(value, item["expect"],
                                              rel_tol=1e-9)
