#!/usr/bin/env python3
"""Fails when a header has over 300 lines or a source over 500.

A longer file says why in its folder's README, and here.
"""
import pathlib
import sys

LIMIT = {".h": 300, ".cc": 500}
EXCUSED = set()  # Paths, each with its reason in the folder's README.
FOLDERS = ("base", "formats", "registry", "model", "merge", "engine", "server",
           "client", "bench")

if __name__ == "__main__":
    root = pathlib.Path(sys.argv[1] if sys.argv[1:] else ".")
    found = []
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            lines = (len(path.read_text().splitlines())
                     if path.suffix in LIMIT else 0)
            rel = str(path.relative_to(root))
            if lines > LIMIT.get(path.suffix, 0) and rel not in EXCUSED:
                found.append(f"{rel}: {lines} lines; at most "
                             f"{LIMIT[path.suffix]}")
    print("\n".join(found) or "sizes: ok")
    sys.exit(bool(found))
