"""Random bfloat16 tensors in a safetensors file, with numpy alone."""

import json
import struct

import numpy as np

_CHUNK = 1 << 22


def _round_to_bfloat16(values):
    """float32 without NaN to the uint16 bits of the nearest bfloat16."""
    bits = values.view(np.uint32)
    # Ties go up rather than to even: these values are random anyway.
    bits += np.uint32(0x8000)
    bits >>= np.uint32(16)
    return bits.astype(np.uint16)


def write_random(path, tensors, seed):
    """Writes `tensors`, a list of (name, shape, mean, standard deviation).

    Values are normal. Equal seeds and lists give equal files.
    """
    header = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape, _, _ in tensors:
        end = offset + 2 * int(np.prod(shape, dtype=np.int64))
        header[name] = {"dtype": "BF16", "shape": list(shape),
                        "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    random = np.random.Generator(np.random.SFC64(seed))
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(encoded)))
        out.write(encoded)
        for _, shape, mean, deviation in tensors:
            left = int(np.prod(shape, dtype=np.int64))
            while left > 0:
                values = random.standard_normal(min(left, _CHUNK),
                                                dtype=np.float32)
                values *= np.float32(deviation)
                values += np.float32(mean)
                out.write(_round_to_bfloat16(values).tobytes())
                left -= values.size
