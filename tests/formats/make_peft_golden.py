"""Writes peft_golden.json: which modules PEFT adapts, and how strongly.

Run with the reference environment:
    .deps/reference/bin/python tests/formats/make_peft_golden.py
"""

import json
import math
import pathlib

import peft
from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key

PATHS = [
    f"model.layers.{i}.{m}"
    for i in (0, 1, 10)
    for m in ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj")
] + [
    "lm_head",
    "transformer.h.1.attn.c_attn",
    "transformer.h.1.attn.c_proj",
    "transformer.h.11.mlp.c_proj",
    "model.layers.1.mlp.experts.0.down_proj",
    "model.my_q_proj",
    "q_proj",
]

CONFIGS = [
    dict(target_modules=["q_proj", "v_proj"]),
    dict(target_modules=["c_proj"]),
    dict(target_modules=["attn.c_proj", "layers.1.self_attn.q_proj"]),
    dict(target_modules=["1.self_attn.q_proj"]),
    dict(target_modules=["lm_head", "down_proj"]),
    dict(target_modules=r".*\.(q|v)_proj"),
    dict(target_modules=r"q_proj"),
    dict(target_modules=r"model\.layers\.\d+\.(self_attn|mlp)\.(q|down)_proj"),
    dict(target_modules=["q_proj", "down_proj"], exclude_modules=["q_proj"]),
    dict(target_modules=["q_proj"], exclude_modules=r".*layers\.1\..*"),
    dict(target_modules=["q_proj"], exclude_modules=["model.layers.10.self_attn.q_proj"]),
    dict(target_modules=["q_proj", "down_proj"], layers_to_transform=1),
    dict(target_modules=["q_proj"], layers_to_transform=[0, 10]),
    dict(target_modules=["q_proj"], layers_to_transform=[]),
    dict(target_modules=["q_proj"], layers_to_transform=0),
    dict(target_modules=["c_proj", "down_proj"], layers_to_transform=[0, 1], layers_pattern="h"),
    dict(target_modules=["c_proj", "q_proj"], layers_to_transform=[1], layers_pattern=["layers", "h"]),
    dict(target_modules=["down_proj"], layers_to_transform=[0], layers_pattern="experts"),
    dict(target_modules=["model.layers.0.self_attn.q_proj", "v_proj"], layers_to_transform=[1]),
    dict(target_modules=["q_proj"], rank_pattern={"q_proj": 4}, alpha_pattern={"layers.1.self_attn.q_proj": 3}),
    dict(target_modules=["q_proj"], rank_pattern={"layers.1.self_attn.q_proj": 2, "q_proj": 4}),
    dict(target_modules=["q_proj"], rank_pattern={"q_proj": 4, "layers.1.self_attn.q_proj": 2}),
    dict(target_modules=["q_proj"], rank_pattern={"^q_proj": 4, r"layers\.1\d*\..*": 2}),
    dict(target_modules=["q_proj"], rank_pattern={"q.proj": 4}, use_rslora=True),
    dict(target_modules=["q_proj"], rank_pattern={"proj": 4, "attn.q_proj": 2}),
    dict(target_modules=["q_proj"], alpha_pattern={"q_proj|v_proj": 1, "down": 2}, use_rslora=True),
    dict(target_modules=["q_proj"], alpha_pattern={"model.layers.0.self_attn.q_proj": 0.5}),
    dict(target_modules=["q_proj"], alpha_pattern={".*_proj": 5, "q_proj": 6}),
]


def main():
    cases = []
    for options in CONFIGS:
        config = LoraConfig(r=8, lora_alpha=16, **options)
        # JSON has a list where LoraConfig keeps a set.
        text = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, **options}
        modules = []
        for path in PATHS:
            r = config.rank_pattern.get(get_pattern_key(config.rank_pattern.keys(), path), config.r)
            alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern.keys(), path), config.lora_alpha)
            modules.append(
                {
                    "path": path,
                    "targets": bool(check_target_module_exists(config, path)),
                    "rank": r,
                    "scaling": alpha / math.sqrt(r) if config.use_rslora else alpha / r,
                }
            )
        cases.append({"config": text, "modules": modules})
    out = pathlib.Path(__file__).with_name("peft_golden.json")
    made_by = "tests/formats/make_peft_golden.py with peft " + peft.__version__
    lines = ",\n".join(json.dumps(case) for case in cases)
    out.write_text('{"made_by": "%s",\n"cases": [\n%s\n]}\n' % (made_by, lines))


if __name__ == "__main__":
    main()
