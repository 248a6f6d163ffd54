"""Writes a safetensors file with numpy alone (no torch, no safetensors)."""

import json
import struct

import numpy as np


def to_bfloat16_bits(values):
    """Rounds float32 to bfloat16, nearest even; returns the uint16 bits.

    REQUIRES: `values` is a float32 array without NaN (a NaN could round up
    to infinity here).
    """
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounding = ((bits >> np.uint32(16)) & np.uint32(1)) + np.uint32(0x7FFF)
    return ((bits + rounding) >> np.uint32(16)).astype(np.uint16)


def write_bfloat16(path, shapes, tensor_of):
    """Writes one file of bfloat16 tensors, in the order of `shapes`.

    `shapes` maps a tensor's name to its shape; `tensor_of(name)` returns
    that float32 array. Tensors are asked for one at a time, so that only
    one of them is in memory in float32.
    """
    header = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shapes.items():
        num_bytes = 2 * int(np.prod(shape, dtype=np.int64))
        header[name] = {
            "dtype": "BF16",
            "shape": [int(d) for d in shape],
            "data_offsets": [offset, offset + num_bytes],
        }
        offset += num_bytes
    encoded = json.dumps(header, separators=(",", ":")).encode("utf-8")
    encoded += b" " * (-len(encoded) % 8)  # the data begins 8-byte aligned
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(encoded)))
        out.write(encoded)
        for name, shape in shapes.items():
            tensor = tensor_of(name)
            if tuple(tensor.shape) != tuple(shape):
                raise ValueError(
                    f"tensor {name}: shape {tuple(tensor.shape)}, expected "
                    f"{tuple(shape)}")
            out.write(to_bfloat16_bits(tensor).tobytes())
