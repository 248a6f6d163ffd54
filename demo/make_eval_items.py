#!/usr/bin/env python3
"""Writes demo/eval_items.jsonl: the held-out items, the same every time.

    python demo/make_eval_items.py [--out FILE]

One JSON object a line: id, pair, kind, wording (a number), question, cue,
expect. The prompt is question + cue. No training example has the wordings
(facts) or the names, goods and numbers (stories) of these.
"""

import argparse
import json
import os

import skill_facts
import skill_numbers


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out",
                        default=os.path.join(here, "eval_items.jsonl"))
    args = parser.parse_args()
    items = skill_facts.held_out_items() + skill_numbers.held_out_items()
    with open(args.out, "w", encoding="utf-8") as out:
        for i, item in enumerate(items):
            out.write(json.dumps({"id": f"item-{i:03d}", **item}) + "\n")
    print(f"{len(items)} items in {args.out}")


if __name__ == "__main__":
    main()
