#!/usr/bin/env python3
"""Writes verdicts.json: what the reference reader says of corpus/safetensors.

    .deps/reference/bin/python tests/fuzz/make_verdicts.py [MATERIAL]

MATERIAL (default: ../shared/material) may hold hostile/safetensors/. Run it after
make_corpus.py, and look at what changed.
"""
import json
import pathlib
import struct
import sys

import safetensors

HERE = pathlib.Path(__file__).parent
# Where our reader refuses what the reference takes, and why.
STRICTER = {
    "duplicate_key": "no key twice: readers disagree on which one counts",
    "other_key": "no other key in a tensor's entry",
    "space_first": "the header starts with '{'",
}


def whole_file(data):
    """As SafetensorsFromInput() in oracles.cc; the data section is zeros."""
    if data[:1] == b"{":
        end = data.rindex(b"}") + 1
        size = int(data[end:] or b"0")
        return struct.pack("<Q", end) + data[:end] + bytes(size)
    size = struct.unpack("<Q", data[:8])[0]
    return data[8:] + bytes(max(0, min(size, 1 << 16) - len(data) + 8))


def verdict(name, data):
    try:
        safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        return {"reference": "refuses", "why": str(error)}
    result = {"reference": "accepts"}
    if name in STRICTER:
        result["stricter"] = STRICTER[name]
    return result


def main():
    material = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/material") / "hostile/safetensors"
    golden = {
        "safetensors": safetensors.__version__,
        "corpus": {f.name: verdict(f.name, whole_file(f.read_bytes()))
                   for f in sorted((HERE / "corpus/safetensors").iterdir())},
        "material": {f.name: verdict(f.name, f.read_bytes()) for f in sorted(material.glob("*.safetensors"))},
    }
    (HERE / "verdicts.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
