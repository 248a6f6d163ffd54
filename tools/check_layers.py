#!/usr/bin/env python3
"""Fails when a file includes a header of a folder it may not depend on.

Usage: tools/check_layers.py [ROOT]. Prints one line per forbidden include.
The table below is the one in ARCHITECTURE.md; change both in one commit.
"""
import pathlib
import re
import sys

ALLOWED = {  # folder -> folders it may include, besides itself
    "base": set(),
    "formats": {"base"},
    "registry": {"base", "formats", "proto"},
    "model": {"base", "formats"},
    "merge": {"base", "formats", "registry", "model"},
    "engine": {"base", "formats", "model", "merge"},
    "server": {"base", "formats", "registry", "model", "merge", "engine",
               "proto"},
    "client": {"base", "formats", "proto"},
}
ALLOWED["tests"] = ALLOWED["bench"] = set(ALLOWED) | {"proto", "tests", "bench"}
# Third-party headers only these folders may include.
FENCED = {
    "ATen/": {"model", "merge", "engine", "server"},
    "c10/": {"model", "merge", "engine"},
    "torch/": {"model"},
    "rocksdb/": {"registry"},
    "grpcpp/": {"server", "client"},
    "prometheus/": {"base"},
    "nlohmann/": {"formats", "client"},
    "pcre2.h": {"formats"},
}
# Files that may break the fence of their folder, and why.
#   engine and server touch libtorch in one file each.
TORCH_FILES = {"engine": {"torch_runner.cc", "torch_runner.h"},
               "server": {"daemon.cc"}}
# The wire's messages must not reach the registry, nor the disk's the server.
PROTO_OF = {"registry": "storage"}
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]', re.M)


def check_include(rel, target):
    folder = rel.parts[0]
    first = target.split("/")[0]
    if first in ALLOWED or first == "proto":
        if first != folder and first not in ALLOWED[folder]:
            yield f"{rel}: {folder}/ may not include {target}"
    if first == "proto" and folder in ALLOWED and folder not in ("tests",):
        is_storage = "storage" in target
        if is_storage != (folder in PROTO_OF):
            yield f"{rel}: {folder}/ may not include {target}"
    if folder in ("tests", "bench"):
        return
    for prefix, owners in FENCED.items():
        if not target.startswith(prefix):
            continue
        if folder not in owners:
            yield f"{rel}: only {sorted(owners)} may include {target}"
        elif (prefix in ("ATen/", "c10/") and folder in TORCH_FILES
              and rel.name not in TORCH_FILES[folder]):
            yield (f"{rel}: in {folder}/ only {sorted(TORCH_FILES[folder])} "
                   f"may include {target}")


def violations(root):
    for folder in sorted(ALLOWED):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in {".h", ".cc"}:
                continue
            rel = path.relative_to(root)
            for target in INCLUDE.findall(path.read_text()):
                yield from check_include(rel, target)


if __name__ == "__main__":
    found = list(violations(pathlib.Path(sys.argv[1] if sys.argv[1:] else ".")))
    print("\n".join(found) or "layers: ok")
    sys.exit(bool(found))
