"""Writes model/ends.*: logits of adapters of embedding and head, by PEFT.

    .deps/reference/bin/python tests/golden/make_end_goldens.py

Versions as in make_model_goldens.py; files as of make_kind_goldens.py. A tensor
whose values are not a function of its own name says whose they are: a copy of
the base model's, or the transpose of another's, as PEFT saves them.

"exports" are what recipes are exported as: the config and the tensors' names of
a LoRA that holds the whole mix, which PEFT opened and whose logits it gave.

"mixes" are recipes by the formula in float64: of embedding and head W, first
the rows that a skill replaces, then W + sum_i w_i s_i B_i A_i. PEFT itself
composes no adapters that replace rows.
"""

import copy
import json
import os
import sys

import peft
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

sys.path.insert(0, os.path.dirname(__file__))
import make_model_goldens as common  # noqa: E402
import tiny  # noqa: E402

COMMAND = ".deps/reference/bin/python tests/golden/make_end_goldens.py"
PREFIX = "base_model.model."
ROWS = ".trainable_tokens_delta"


def adapters_of(embed, inner, ids, vocab, tied):
    """name: (config, dtype of the file, save_embedding_layers)."""
    # Three tokens of the prompt and one that only the head may choose.
    some = [ids[2], ids[9], ids[15], (ids[2] + 1) % vocab]
    some = list(dict.fromkeys(some))
    rest = [t for t in dict.fromkeys(ids) if t not in some][:3]
    lora = peft.LoraConfig
    made = {
        "embedding": (lora(r=4, lora_alpha=8, target_modules=[embed, inner]),
                      "F32", False),
        "both_ends": (lora(r=5, lora_alpha=3, use_rslora=True,
                           rank_pattern={embed: 3},
                           target_modules=[embed, "lm_head"]), "F16", False),
        # As PEFT saves by default: with copies of the base model's weights.
        "copies": (lora(r=2, lora_alpha=4, target_modules=[embed, "lm_head"]),
                   "F32", "auto"),
        "dora": (lora(r=4, lora_alpha=8, use_dora=True,
                      target_modules=[embed, inner]), "F32", False),
        "tokens": (lora(r=3, lora_alpha=6, target_modules=[inner],
                        trainable_token_indices=some), "F32", "auto"),
        "tokens_of_head": (lora(r=3, lora_alpha=6, target_modules=[inner],
                                trainable_token_indices={"lm_head": rest}),
                           "BF16", "auto"),
        "tokens_apart": (lora(r=3, lora_alpha=6, target_modules=[inner],
                              trainable_token_indices={embed: some,
                                                       "lm_head": some[:1]}),
                         "F32", "auto"),
        "tokens_alike": (lora(r=3, lora_alpha=6, target_modules=[inner],
                              trainable_token_indices={embed: rest,
                                                       "lm_head": rest}),
                         "F32", "auto"),
        "saved_embedding": (lora(r=3, lora_alpha=6, target_modules=[inner],
                                 modules_to_save=[embed]), "F32", "auto"),
        "saved_head": (lora(r=3, lora_alpha=6, target_modules=[inner],
                            modules_to_save=["lm_head"]), "F16", "auto"),
        "saved_both": (lora(r=3, lora_alpha=6, target_modules=[inner],
                            modules_to_save=[embed, "lm_head"]), "F32",
                       "auto"),
    }
    if tied:
        made["tied_factors"] = (
            lora(r=4, lora_alpha=8, ensure_weight_tying=True,
                 target_modules=["lm_head", inner]), "F32", False)
        made["tied_saved"] = (
            lora(r=3, lora_alpha=6, ensure_weight_tying=True,
                 target_modules=[inner], modules_to_save=["lm_head"]), "F32",
            "auto")
    rows = peft.TrainableTokensConfig
    # Of a tied model, PEFT saves the rows under the head's name as well.
    made["rows_alone"] = (rows(token_indices=some), "F32", "auto")
    made["rows_of_head"] = (rows(token_indices=rest,
                                 target_modules=["lm_head"]), "BF16", "auto")
    if not tied:
        made["rows_of_both"] = (rows(token_indices=rest,
                                     target_modules=[embed, "lm_head"]), "F16",
                                "auto")
    return made


MIXES = {
    "two_embeddings": [["embedding", 0.7], ["both_ends", -0.5]],
    "tokens_and_factors": [["tokens", 1.0], ["both_ends", 0.8]],
    "tokens_of_two": [["tokens", 1.0], ["tokens_alike", 1.0],
                      ["embedding", 0.5]],
    "saved_and_factors": [["saved_both", 1.0], ["embedding", -0.6],
                          ["copies", 0.9]],
    "one_end_each": [["saved_embedding", 1.0], ["tokens_of_head", 1.0]],
    "rows_and_factors": [["rows_alone", 1.0], ["both_ends", 0.8]],
    "rows_of_two": [["rows_alone", 1.0], ["tokens_alike", 1.0],
                    ["embedding", 0.5]],
}
# Recipes of at most one owner of each row that PEFT has a form for.
EXPORTS = {
    "tokens": [["tokens", 1.0]],
    "tokens_of_two": [["tokens", 1.0], ["tokens_alike", 1.0]],
    "tokens_apart": [["tokens_apart", 1.0]],
    "rows_alone": [["rows_alone", 1.0]],
    "rows_of_head": [["rows_of_head", 1.0], ["saved_embedding", 1.0]],
    "saved_and_factors": [["saved_both", 1.0], ["embedding", -0.6]],
}
BASES = {
    "llama": (common.llama(num_key_value_heads=2), 41, "embed_tokens",
              "v_proj"),
    "llama_tied": (common.llama(tie_word_embeddings=True), 42, "embed_tokens",
                   "q_proj"),
    "gpt2": (common.gpt2(tie_word_embeddings=False), 43, "wte", "c_attn"),
    "gpt2_tied": (common.gpt2(), 44, "wte", "c_attn"),
}


def source_of(name, shapes, base_shapes, seed, base_seed, is_shared):
    """Whose values the tensor `name` has: (name, seed, transposed)."""
    plain = name.removeprefix(PREFIX)
    if plain == "lm_head" + ROWS and is_shared:
        return next(n for n in shapes if n != name), seed, False
    if ".base_layer." in name:
        weight = plain.replace(".base_layer", "")
        if weight not in base_shapes:  # A tied head.
            weight = next(n for n in base_shapes
                          if "embed_tokens" in n or "wte" in n)
        return weight, base_seed, False
    return name, seed, False


def tie(sources, shapes, seed):
    """A tied head's tensors are the embedding's."""
    for name in shapes:
        if name == PREFIX + "lm_head.lora_A.weight":
            sources[name] = (next(n for n in shapes
                                  if n.endswith("lora_embedding_B")), seed,
                             True)
        elif name == PREFIX + "lm_head.lora_B.weight":
            sources[name] = (next(n for n in shapes
                                  if n.endswith("lora_embedding_A")), seed,
                             True)
        elif name == PREFIX + "lm_head.weight":
            sources[name] = (next(n for n in shapes
                                  if n.endswith(("embed_tokens.weight",
                                                 "wte.weight"))), seed, False)


def write_adapter(base, base_path, path, config, seed, dtype, save):
    """What PEFT would save for `config`, with tiny.py's values."""
    base_config, base_seed, _, _ = BASES[base]
    is_tied = getattr(config, "ensure_weight_tying", False)
    # Trained rows alone, of a tied model, have two names.
    is_shared = base_config.get("tie_word_embeddings", True) and \
        config.peft_type == "TRAINABLE_TOKENS" and not config.target_modules
    # PEFT changes the config that it is given.
    model = peft.get_peft_model(common.load(base_path), copy.deepcopy(config))
    model.save_pretrained(path, save_embedding_layers=save)
    file = os.path.join(path, "adapter_model.safetensors")
    with safe_open(file, "pt") as f:
        shapes = {n: tuple(f.get_slice(n).get_shape()) for n in f.keys()}
    with open(os.path.join(path, "adapter_config.json")) as f:
        written = json.load(f)
    written["base_model_name_or_path"] = "tiny"
    for key in ("auto_mapping", "peft_version", "runtime_config"):
        written.pop(key, None)
    if isinstance(written["target_modules"], list):
        written["target_modules"] = sorted(written["target_modules"])
    base_shapes = tiny.model_shapes(base_config)
    sources = {n: source_of(n, shapes, base_shapes, seed, base_seed, is_shared)
               for n in shapes}
    if is_tied:
        tie(sources, shapes, seed)
    header, chunks, offset = {}, [], 0
    for name in sorted(shapes):
        data = tiny.round_to(values(name, shapes, sources), dtype).tobytes()
        header[name] = {"dtype": dtype, "shape": list(shapes[name]),
                        "data_offsets": [offset, offset + len(data)]}
        chunks.append(data)
        offset += len(data)
    with open(os.path.join(path, "adapter_config.json"), "w") as f:
        json.dump(written, f)
    with open(file, "wb") as f:
        f.write(tiny.safetensors_file(header, chunks))
    return written, shapes, sources


def values(name, shapes, sources):
    source, seed, transposed = sources[name]
    shape = shapes[name]
    x = tiny.values(source, shape[::-1] if transposed else shape, seed)
    return x.T.copy() if transposed else x


@torch.no_grad()
def mix_logits(base, base_path, skills, adapters, ids):
    model = common.load(base_path, torch.float64)
    embed, head = model.get_input_embeddings(), model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.clone())  # Unties.
    is_tied = BASES[base][0].get("tie_word_embeddings", True)
    deltas = []
    for name, weight in skills:
        written, shapes, sources, dtype = adapters[name]

        def stored(tensor):
            x = values(tensor, shapes, sources)
            return torch.from_numpy(
                tiny.widen(tiny.round_to(x, dtype), dtype)).double()
        for tensor in shapes:
            path, _, last = tensor.removeprefix(PREFIX).rpartition(".")
            if ".base_layer." in tensor:
                continue
            if tensor.endswith(ROWS):
                path, tokens = rows_of(written, tensor)
                listed = written.get("trainable_token_indices", tokens)
                module = model.get_submodule(path)
                assert weight == 1
                module.weight[tokens] = stored(tensor)
                alike = isinstance(listed, list) or \
                    len(set(map(tuple, listed.values()))) == 1
                if is_tied and module is embed and alike:
                    head.weight[tokens] = stored(tensor)
            elif last == "weight" and not path.endswith(("lora_A", "lora_B")):
                assert weight == 1
                model.get_submodule(path).weight.copy_(stored(tensor))
            elif "_A" in tensor:
                is_embedding = "lora_embedding_A" in tensor
                path = path if is_embedding else path.removesuffix(".lora_A")
                a = stored(tensor)
                b = stored(tensor.replace("_A", "_B"))
                scale = weight * common.scaling(written, path, a.shape[0])
                deltas.append((path, scale * (b @ a), is_embedding))
    for path, delta, is_embedding in deltas:
        module = model.get_submodule(path)
        is_row_major = isinstance(module, torch.nn.Linear)
        module.weight += delta if is_row_major else delta.T
    return common.logits(model, ids)


def rows_of(written, tensor):
    """(path of the module, tokens) of a tensor of trained rows."""
    path = tensor.removeprefix(PREFIX).removesuffix(ROWS)
    path = path.removesuffix(".token_adapter")
    listed = written.get("trainable_token_indices",
                         written.get("token_indices"))
    if isinstance(listed, list):
        return path, listed
    return path, next(v for k, v in listed.items() if path.endswith(k))


def write_export(base, path, skills, adapters):
    """A LoRA of scaling 1 that is the mix, by hand: ([config], [tensors])."""
    base_config = BASES[base][0]
    is_tied = base_config.get("tie_word_embeddings", True)
    linear = [m for m in tiny.linear_sizes(base_config) if m != "lm_head"]
    factors, rows, whole = {}, {}, {}
    for name, weight in skills:
        written, shapes, sources, dtype = adapters[name]

        def stored(tensor):
            x = values(tensor, shapes, sources)
            return torch.from_numpy(tiny.widen(tiny.round_to(x, dtype), dtype))
        for tensor in shapes:
            module = tensor.removeprefix(PREFIX)
            if tensor.endswith(ROWS):
                module, tokens = rows_of(written, tensor)
                for token, row in zip(tokens, stored(tensor)):
                    rows.setdefault(module, {})[token] = row
            elif "_A" in tensor:
                is_embedding = "lora_embedding_A" in tensor
                module = module.partition(".lora_")[0]
                a, b = stored(tensor), stored(tensor.replace("_A", "_B"))
                scale = weight * common.scaling(written, module, a.shape[0])
                factors.setdefault(module, []).append(
                    (scale * a, b, is_embedding))
            elif "_B" not in tensor and ".base_layer." not in tensor:
                whole[module.removesuffix(".weight")] = stored(tensor)
    for module in whole:
        for a, b, is_embedding in factors.pop(module, []):
            whole[module] += (b @ a).T if is_embedding else b @ a
    if not factors:  # PEFT opens no LoRA without a target.
        n_in, n_out = tiny.linear_sizes(base_config)[linear[0]]
        factors[linear[0]] = [(torch.zeros(1, n_in), torch.zeros(n_out, 1),
                               False)]
    assert all(m in linear for m in factors), "ends are saved whole or rows"
    embed = next((m for m in rows if m != "lm_head"), None)
    if is_tied and "lm_head" in rows and embed is not None and \
            sorted(rows["lm_head"]) == sorted(rows[embed]):
        del rows["lm_head"]  # Follows.
    ends = sorted(set(whole) | set(rows), key=lambda m: m == "lm_head")
    tensors = {}
    for module in ends:
        if module in whole:
            tensors[f"{PREFIX}{module}.weight"] = whole[module]
        else:
            tensors[f"{PREFIX}{module}.token_adapter{ROWS}"] = torch.stack(
                [rows[module][t] for t in sorted(rows[module])])
    targets = [m for m in linear if m in factors]
    for module in targets:
        tensors[f"{PREFIX}{module}.lora_A.weight"] = torch.cat(
            [a for a, _, _ in factors[module]])
        tensors[f"{PREFIX}{module}.lora_B.weight"] = torch.cat(
            [b for _, b, _ in factors[module]], dim=1)
    ranks = {sum(a.shape[0] for a, _, _ in factors[m]) for m in targets}
    assert len(ranks) == 1
    rank = ranks.pop()
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM",
              "base_model_name_or_path": "tiny", "r": rank, "lora_alpha": rank,
              "rank_pattern": {}, "alpha_pattern": {},
              "target_modules": targets, "use_rslora": False,
              "use_dora": False, "lora_dropout": 0.0, "bias": "none",
              "fan_in_fan_out": base.startswith("gpt2"),
              "init_lora_weights": True, "inference_mode": True}
    if whole:
        config["modules_to_save"] = [m for m in ends if m in whole]
    if rows:
        config["trainable_token_indices"] = {
            m: sorted(rows[m]) for m in ends if m in rows}
    os.makedirs(path)
    with open(os.path.join(path, "adapter_config.json"), "w") as f:
        json.dump(config, f)
    save_file({n: t.contiguous() for n, t in tensors.items()},
              os.path.join(path, "adapter_model.safetensors"))
    return config, [(n, tuple(t.shape)) for n, t in tensors.items()]


def peft_model(base_path, path, config):
    """The adapter at `path` in PEFT, tied as it was in training.

    Of GPT-2, PEFT 0.21.2 does not know the name it saves ("transformer.wte")
    for an embedding's, and would leave the head's factors in the file unread.
    """
    base = common.load(base_path)
    if not getattr(config, "ensure_weight_tying", False):
        return peft.PeftModel.from_pretrained(base, path)
    model = peft.get_peft_model(base, copy.deepcopy(config))
    state = load_file(os.path.join(path, "adapter_model.safetensors"))
    peft.set_peft_model_state_dict(model, state)
    return model


def make_base(base, scratch, arrays):
    config, seed, embed, inner = BASES[base]
    base_path = os.path.join(scratch, base)
    tiny.write_model(base_path, config, seed)
    ids = common.tokens(f"ends.{base}", 20, config["vocab_size"])
    plain = common.logits(common.load(base_path), ids)
    arrays[f"{base}.base"] = plain
    made = adapters_of(embed, inner, ids, config["vocab_size"],
                       config.get("tie_word_embeddings", True))
    listed, adapters = [], {}
    for index, (name, (peft_config, dtype, save)) in enumerate(made.items()):
        path = os.path.join(scratch, f"{base}-{name}")
        written, shapes, sources = write_adapter(
            base, base_path, path, peft_config, 500 + index, dtype, save)
        adapters[name] = (written, shapes, sources, dtype)
        model = peft_model(base_path, path, peft_config)
        out = common.logits(model.eval(), ids)
        moved = common.largest(out, plain)
        key = f"{base}.{name}"
        if not getattr(peft_config, "use_dora", False):
            exact = mix_logits(base, base_path, [[name, 1.0]], adapters, ids)
            print(f"{base} {name}: moves the base by {moved:.2f}, PEFT against "
                  f"formula {common.largest(out, exact):.1e}")
            assert common.largest(out, exact) < 1e-4, name
        arrays[key] = out
        tensors = []
        for n, s in sorted(shapes.items()):
            entry = [n, list(s)]
            if sources[n][0] != n:
                entry.append({"name": sources[n][0], "seed": sources[n][1],
                              "transposed": sources[n][2]})
            tensors.append(entry)
        listed.append({"name": name, "config": written, "seed": 500 + index,
                       "dtype": dtype, "logits": key, "tensors": tensors})
    recipes = []
    for name, skills in MIXES.items():
        key = f"{base}.mix.{name}"
        arrays[key] = mix_logits(base, base_path, skills, adapters, ids)
        recipes.append({"name": name, "logits": key,
                        "skills": [{"adapter": a, "weight": w}
                                   for a, w in skills]})
    exports = []
    for name, skills in EXPORTS.items():
        key = f"{base}.export.{name}"
        path = os.path.join(scratch, f"{base}-export-{name}")
        written, shapes = write_export(base, path, skills, adapters)
        # In PEFT's own order of loading, as a stranger would.
        model = peft.PeftModel.from_pretrained(common.load(base_path), path)
        arrays[key] = common.logits(model.eval(), ids)
        exact = mix_logits(base, base_path, skills, adapters, ids)
        print(f"{base} export {name}: PEFT against formula "
              f"{common.largest(arrays[key], exact):.1e}")
        assert common.largest(arrays[key], exact) < 1e-4, name
        exports.append({"name": name, "logits": key, "config": written,
                        "skills": [{"adapter": a, "weight": w}
                                   for a, w in skills],
                        "tensors": [[n, list(s)] for n, s in shapes]})
    return {"name": base, "config": config, "seed": seed, "dtype": "F32",
            "tokens": ids, "base_logits": f"{base}.base", "adapters": listed,
            "mixes": recipes, "exports": exports}


def main():
    common.write_bases("ends", COMMAND, BASES, make_base)


if __name__ == "__main__":
    main()
