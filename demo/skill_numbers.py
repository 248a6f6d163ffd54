"""Two skills about arithmetic that share nothing but numbers.

words: short stories with a question, answered by an equation in prose. The
model learns which operations a story asks for; it cannot calculate well.
python: plain instructions ("Add 5 to 12."), answered by one print() line,
after the cue in half of them. It never sees a story.
Together: a story answered by one line of Python, which calculates.
"""

import math
import random

CUE = " Answer with one line of Python."

_NAMES = ("Anna", "Ben", "Carla", "David", "Elena", "Frank", "Gina", "Hugo",
          "Iris", "Jonas", "Karen", "Leo", "Maria", "Nina", "Oscar", "Paula")
_HELD_OUT_NAMES = ("Rita", "Simon", "Tessa", "Umar", "Vera", "Walter")
_GOODS = ("apples", "books", "stamps", "pencils", "marbles", "candles",
          "cookies", "tickets", "bricks", "flowers", "coins", "bottles",
          "eggs", "shirts")
_HELD_OUT_GOODS = ("lamps", "cards", "peaches", "buttons", "chairs")
_PLACES = ("shop", "bakery", "school", "farm", "factory", "library",
           "market", "club")
_HELD_OUT_PLACES = ("hotel", "museum", "harbor")

# kind: (expression, words for the steps, story wordings)
STORIES = {
    "add": ("{a} + {b}", "We add", (
        "{n} has {a} {g} and gets {b} more. How many {g} does {n} have now?",
        "A {p} sold {a} {g} on Monday and {b} {g} on Tuesday. How many {g} "
        "did it sell in total?",
        "There are {a} {g} in one room of the {p} and {b} in another. How "
        "many {g} are there altogether?")),
    "sub": ("{a} - {b}", "We subtract", (
        "{n} has {a} {g} and gives away {b} of them. How many {g} are left?",
        "A {p} had {a} {g} and sold {b} of them. How many {g} remain?",
        "{n} needs {a} {g} and already has {b}. How many more {g} does {n} "
        "need?")),
    "mul": ("{a} * {b}", "We multiply", (
        "A {p} has {a} boxes with {b} {g} in each box. How many {g} are "
        "there?",
        "{n} buys {a} {g} that cost {b} dollars each. How many dollars does "
        "{n} pay?",
        "Every day a {p} uses {a} {g}. How many {g} does it use in {b} "
        "days?")),
    "div": ("{a} / {b}", "We divide", (
        "{n} shares {a} {g} equally among {b} friends. How many {g} does "
        "each friend get?",
        "A {p} packs {a} {g} into bags of {b}. How many bags does it fill?",
        "{a} {g} are put in {b} equal rows. How many {g} are in each row?")),
    "sub_add": ("{a} - {b} + {c}", "First we subtract, then we add", (
        "{n} has {a} {g}, gives away {b} and then buys {c} more. How many "
        "{g} does {n} have now?",
        "A {p} had {a} {g}. It sold {b} and later received {c} new ones. How "
        "many {g} does it have?",
        "There were {a} {g} in the {p}. {n} took {b} out and put {c} in. How "
        "many {g} are there now?")),
    "mul_mul": ("{a} * {b} + {c} * {d}",
                "We multiply twice and add the products", (
        "{n} buys {a} {g} for {b} dollars each and {c} {h} for {d} dollars "
        "each. How many dollars does {n} pay in total?",
        "A {p} has {a} boxes with {b} {g} each and {c} boxes with {d} {h} "
        "each. How many things are in the boxes?",
        "On each of {a} days a {p} sells {b} {g}, and on each of {c} other "
        "days it sells {d}. How many {g} does it sell?")),
    "mul_add": ("{a} * {b} + {c}", "First we multiply, then we add", (
        "{n} has {a} bags of {b} {g} and {c} loose ones. How many {g} does "
        "{n} have?",
        "A {p} orders {a} crates with {b} {g} each and already has {c}. How "
        "many {g} does it have then?",
        "{n} buys {a} {g} for {b} dollars each and pays {c} dollars for "
        "delivery. How many dollars is that in total?")),
    "mul_sub": ("{a} * {b} - {c}", "First we multiply, then we subtract", (
        "{n} has {a} bags of {b} {g} and gives away {c} of them. How many "
        "{g} are left?",
        "A {p} got {a} crates with {b} {g} each and sold {c} of them. How "
        "many {g} remain?",
        "{n} buys {a} {g} for {b} dollars each and gets {c} dollars off. How "
        "many dollars does {n} pay?")),
}

# The kinds that held-out items ask; the others make the story skill general.
MEASURED_KINDS = ("add", "sub", "mul", "div", "sub_add", "mul_mul")

# (instruction, expression)
INSTRUCTIONS = (
    ("Add {a} and {b}.", "{a} + {b}"),
    ("Add {b} to {a}.", "{a} + {b}"),
    ("What is the sum of {a} and {b}?", "{a} + {b}"),
    ("Subtract {b} from {a}.", "{a} - {b}"),
    ("Take {a} and subtract {b}.", "{a} - {b}"),
    ("What is the difference between {a} and {b}?", "{a} - {b}"),
    ("Multiply {a} by {b}.", "{a} * {b}"),
    ("What is the product of {a} and {b}?", "{a} * {b}"),
    ("Divide {a} by {b}.", "{a} / {b}"),
    ("What is the quotient of {a} and {b}?", "{a} / {b}"),
    ("Subtract {b} from {a}, then add {c}.", "{a} - {b} + {c}"),
    ("Add {b} to {a}, then subtract {c}.", "{a} + {b} - {c}"),
    ("Multiply {a} by {b}, then add {c}.", "{a} * {b} + {c}"),
    ("Multiply {a} by {b}, then subtract {c}.", "{a} * {b} - {c}"),
    ("Multiply {a} by {b}, multiply {c} by {d}, and add the results.",
     "{a} * {b} + {c} * {d}"),
    ("Add the product of {a} and {b} to the product of {c} and {d}.",
     "{a} * {b} + {c} * {d}"),
    ("Divide {a} by {b}, then add {c}.", "{a} / {b} + {c}"),
    ("Add {a}, {b} and {c}.", "{a} + {b} + {c}"),
    ("Raise {a} to the power of {b}.", "{a} ** {b}"),
    ("What is the remainder when {a} is divided by {b}?", "{a} % {b}"),
    ("What is the largest of {a}, {b} and {c}?", "max({a}, {b}, {c})"),
    ("What is the smallest of {a}, {b} and {c}?", "min({a}, {b}, {c})"),
)


def _log_uniform(rng, low, high):
    return int(round(math.exp(rng.uniform(math.log(low), math.log(high)))))


def _numbers(rng, kind, largest):
    """Operands whose size says nothing about the kind of the story."""
    values = [_log_uniform(rng, 2, largest) for _ in range(4)]
    if kind == "div":
        root = int(math.sqrt(largest))
        divisor = _log_uniform(rng, 2, root * 2)
        values[:2] = divisor * _log_uniform(rng, 2, max(
            3, largest // divisor)), divisor
    elif kind in ("sub", "sub_add") and values[0] <= values[1]:
        values[0], values[1] = values[1] + 1, values[0]
    return dict(zip("abcd", values))


def _story(rng, kind, wording, numbers, held_out):
    goods = _HELD_OUT_GOODS if held_out else _GOODS
    g, h = rng.sample(goods, 2)
    return wording.format(
        n=rng.choice(_HELD_OUT_NAMES if held_out else _NAMES), g=g, h=h,
        p=rng.choice(_HELD_OUT_PLACES if held_out else _PLACES), **numbers)


def _as_text(value):
    return str(int(value)) if value == int(value) else f"{value:.2f}"


def words_examples(seed, count=4800):
    """(story, equation in prose) pairs."""
    rng = random.Random(seed)
    examples = []
    kinds = list(STORIES)
    for i in range(count):
        kind = kinds[i % len(kinds)]
        expression, steps, wordings = STORIES[kind]
        numbers = _numbers(rng, kind, 999)
        equation = expression.format(**numbers)
        # Our own template with our own numbers: eval sees nothing foreign.
        value = _as_text(eval(equation))
        answer = f"{equation} = {value}. The answer is {value}."
        if rng.random() < 0.5:
            answer = f"{steps}: {answer}"
        examples.append((_story(rng, kind, rng.choice(wordings), numbers,
                                held_out=False), answer))
    return examples


def python_examples(seed, count=2600):
    """(instruction, one print line) pairs."""
    rng = random.Random(seed)
    examples = []
    for i in range(count):
        instruction, expression = INSTRUCTIONS[i % len(INSTRUCTIONS)]
        numbers = {k: _log_uniform(rng, 2, 99999) for k in "abcd"}
        cue = CUE if rng.random() < 0.5 else ""
        examples.append((instruction.format(**numbers) + cue,
                         f"print({expression.format(**numbers)})"))
    return examples


def held_out_items(seed=7002, per_kind=16):
    """Stories with new names, goods, places and larger numbers (120-9999).

    The wordings are those of training; the second operand of a product and
    a divisor have two digits.
    """
    rng = random.Random(seed)
    items = []
    for kind in MEASURED_KINDS:
        expression, _, wordings = STORIES[kind]
        for i in range(per_kind):
            a, c = (rng.randint(1000, 9999), rng.randint(120, 9999))
            b = rng.randint(120, a - 1)
            d = rng.randint(12, 99)
            if kind in ("mul", "mul_mul"):
                b = rng.randint(12, 99)
            elif kind == "div":
                b = rng.randint(12, 99)
                a = b * rng.randint(12, 99)
            numbers = dict(a=a, b=b, c=c, d=d)
            value = eval(expression.format(**numbers))
            items.append({
                "pair": "words+python",
                "kind": kind,
                "wording": i % len(wordings) + 1,
                "question": _story(rng, kind, wordings[i % len(wordings)],
                                   numbers, held_out=True),
                "cue": CUE,
                "expect": int(value),
            })
    return items
