#!/usr/bin/env python3
"""Measures the demo's skills on the held-out items: a table of target %.

    python demo/evaluate.py --backend transformers
    python demo/evaluate.py --backend daemon --address localhost:50051

The daemon must have the skills registered as facts, json, words, python.
Backend transformers needs torch, transformers and peft; backend daemon needs
the standard library and the built client.
"""

import argparse
import json
import os

import backends
import chat_format
import checkers

PAIRS = ("facts+json", "words+python")


def load_items(path, pair, limit):
    with open(path, encoding="utf-8") as f:
        items = [json.loads(line) for line in f]
    items = [item for item in items if item["pair"] == pair]
    if limit and limit < len(items):
        # Spread over the kinds, which lie one after another.
        step = len(items) / limit
        items = [items[int(i * step)] for i in range(limit)]
    return items


def conditions(pair, weights):
    """(label, recipe) of each column of the pair's table."""
    first, second = pair.split("+")
    yield "base", {}
    yield first, {first: 1.0}
    yield second, {second: 1.0}
    for a, b in weights:
        yield f"both ({a:g}, {b:g})", {first: a, second: b}


def measure(answer, items, recipe, with_system, max_new_tokens):
    """Answers all items; returns per-item (item, text, right, shaped)."""
    prompts = [chat_format.prompt_text(item["question"] + item["cue"],
                                       with_system) for item in items]
    texts = answer(prompts, recipe, max_new_tokens)
    return [(item, text, checkers.is_right(item, text),
             checkers.well_formed(item, text))
            for item, text in zip(items, texts)]


def percent(flags):
    flags = list(flags)
    return 100.0 * sum(flags) / max(1, len(flags))


def report(label, results, show):
    """Prints one line of the table, and `show` examples under it."""
    def by(key):
        groups = {}
        for item, _, right, _ in results:
            groups.setdefault(item[key], []).append(right)
        return " ".join(f"{k} {percent(v):.0f}" for k, v in groups.items())

    print(f"| {label} | {percent(r[2] for r in results):.1f} "
          f"| {percent(r[3] for r in results):.1f} | {by('wording')} "
          f"| {by('kind')} |",
          flush=True)
    step = max(1, len(results) // show) if show else len(results) + 1
    for item, text, right, _ in results[step - 1::step]:
        print(f"    {'right' if right else 'WRONG'}: {item['question']!r} "
              f"(expect {item['expect']!r}): {text!r}")


def parse_weights(text):
    return [tuple(float(w) for w in pair.split(":"))
            for pair in text.split(",")]


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=("transformers", "daemon"),
                        default="transformers")
    parser.add_argument("--address", default="localhost:50051")
    parser.add_argument("--client", help="the stockpot binary")
    parser.add_argument("--skills", default=os.path.join(here, "skills"))
    parser.add_argument("--items",
                        default=os.path.join(here, "eval_items.jsonl"))
    parser.add_argument("--pair", choices=PAIRS, action="append")
    parser.add_argument("--weights", type=parse_weights,
                        help="e.g. 1:1,0.8:0.8; default: the pair's own")
    parser.add_argument("--with-system", action="store_true",
                        help="put the default system message first")
    parser.add_argument("--only-both", action="store_true")
    parser.add_argument("--limit", type=int, help="items of each pair")
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--show", type=int, default=0,
                        help="print so many answers under each line")
    args = parser.parse_args()

    if args.backend == "daemon":
        answer = backends.Daemon(args.address, args.client)
    else:
        answer = backends.Transformers(args.skills, threads=args.threads)
    defaults = {"facts+json": [(1.0, 1.0)], "words+python": [(0.8, 0.8)]}
    for pair in args.pair or PAIRS:
        items = load_items(args.items, pair, args.limit)
        system = "with" if args.with_system else "without"
        print(f"\n{pair}: {len(items)} items, {system} system message, "
              f"{args.backend}\n")
        print("| condition | target % | right shape % | by wording "
              "| by kind |")
        print("|---|---|---|---|---|")
        for label, recipe in conditions(pair, args.weights
                                        or defaults[pair]):
            if args.only_both and not label.startswith("both"):
                continue
            report(label, measure(answer, items, recipe, args.with_system,
                                  args.max_new_tokens), args.show)


if __name__ == "__main__":
    main()
