"""What the scripts here do before they ask a reference implementation."""

import sys


def check(versions):
    """Ends unless each of {name: (version here, version wanted)} is as wanted."""
    for name, (have, want) in versions.items():
        if have != want:
            sys.exit(f"{name} is {have}; the goldens are made with {want}")
