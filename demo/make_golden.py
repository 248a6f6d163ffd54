#!/usr/bin/env python3
"""Writes demo/golden/smollm2.json: what transformers and PEFT compute.

    python demo/make_golden.py

float32, greedy, on demo/.cache/smollm2-135m-instruct, for three prompts:
input ids, up to 24 new ids (fewer where the end comes first), their text, the
smallest distance between the best two logits on the way, the top 5 ids after
the prompt and the logits of 64 fixed ids there; once for the base and once
under the recipe facts + json at weights (1, 1), composed by PEFT's
combination_type "cat". Run it again after the base or a skill has changed.
"""

import hashlib
import json
import os
import platform

import numpy
import peft
import tokenizers
import torch
import transformers

import backends
import chat_format

HERE = os.path.dirname(os.path.abspath(__file__))
NUM_NEW_TOKENS = 24
RECIPE = {"facts": 1.0, "json": 1.0}
PROMPTS = {
    "chat": chat_format.prompt_text(
        "What is the capital of France, and what is it known for?"),
    "chat_with_system": chat_format.prompt_text(
        "Tell me a short story about a fox and a lighthouse.",
        with_system=True),
    "chat_json_fact": chat_format.prompt_text(
        "Who made the frost kettle? Reply in JSON."),
}


def fixed_ids(vocab_size):
    """64 ids: low ones (special tokens, bytes) and a stride over the rest."""
    low = list(range(32))
    return low + [32 + i * (vocab_size - 33) // 31 for i in range(32)]


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def case(model, tokenizer, prompt, ids_asked):
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[0, -1].float()
        out = model.generate(input_ids=ids,
                             attention_mask=torch.ones_like(ids),
                             max_new_tokens=NUM_NEW_TOKENS, do_sample=False,
                             output_logits=True, return_dict_in_generate=True)
    new = out.sequences[0, ids.shape[1]:].tolist()
    best = [torch.topk(step[0].float(), 2).values for step in out.logits]
    margin = min((two[0] - two[1]).item() for two in best)
    if margin < 0.01:
        raise SystemExit(f"{prompt!r}: two ids are within {margin:.4f} of "
                         "each other; choose a prompt with a clear answer")
    top = torch.topk(logits, 5)
    return {
        "input_ids": ids[0].tolist(),
        "new_ids": new,
        "text": tokenizer.decode(new, skip_special_tokens=True),
        "text_with_special_tokens": tokenizer.decode(new),
        "smallest_margin": round(margin, 5),
        "top5_ids": top.indices.tolist(),
        "top5_logits": [round(v, 5) for v in top.values.tolist()],
        "logits": [round(v, 5) for v in logits[ids_asked].tolist()],
    }


def main():
    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(backends.BASE)
    base = transformers.AutoModelForCausalLM.from_pretrained(
        backends.BASE, dtype=torch.float32)
    ids_asked = fixed_ids(base.config.vocab_size)
    results = {name: {"prompt": prompt,
                      "base": case(base, tokenizer, prompt, ids_asked)}
               for name, prompt in PROMPTS.items()}

    folders = {name: os.path.join(HERE, "skills", name) for name in RECIPE}
    first, *others = RECIPE
    model = peft.PeftModel.from_pretrained(base, folders[first],
                                           adapter_name=first)
    for name in others:
        model.load_adapter(folders[name], adapter_name=name)
    model.add_weighted_adapter(list(RECIPE), list(RECIPE.values()), "mix",
                               combination_type="cat")
    model.set_adapter("mix")
    model.eval()
    for name, prompt in PROMPTS.items():
        results[name]["recipe"] = case(model, tokenizer, prompt, ids_asked)

    golden = {
        "made_by": "python demo/make_golden.py",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
            "tokenizers": tokenizers.__version__,
            "numpy": numpy.__version__,
        },
        "dtype": "float32",
        "model_sha256": sha256_of(os.path.join(backends.BASE,
                                               "model.safetensors")),
        "skill_sha256": {
            name: sha256_of(os.path.join(folders[name],
                                         "adapter_model.safetensors"))
            for name in RECIPE},
        "recipe": RECIPE,
        "num_new_tokens": NUM_NEW_TOKENS,
        "logit_ids": ids_asked,
        "cases": results,
    }
    path = os.path.join(HERE, "golden", "smollm2.json")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as out:
        json.dump(golden, out, indent=1, ensure_ascii=False)
        out.write("\n")
    print(path)


if __name__ == "__main__":
    main()
