"""Writes entries/: what the entry-wise composition methods give.

    .deps/reference/bin/python tests/golden/make_entry_goldens.py

Versions that the files were made with: peft 0.21.2, torch 2.11.0, numpy (any).
The script refuses others.

rules.*: trimming, masks and elections on dense tensors, written here in numpy
and float64 from the definitions: PEFT's (checked against
peft.utils.merge_utils), mergekit's (merge_methods/generalized_task_arithmetic.py
and sparsify.py at a6e4028) and the papers'.

peft.*: PEFT's add_weighted_adapter() on a small model: both factors where the
combination works on factors, the product where it ends in a decomposition.
PEFT draws masks with torch.bernoulli; here it draws ours, so that dare is exact
too. Since 0.21 its "*_svd" types apply the scaling once (pull request 3111),
which is right, and is what the files hold.

Masks: entry i of term t in a stream is kept if output i of SplitMix64 from
key(seed, stream, t) is, in its upper 32 bits, below probability * 2^32.
"""

import json
import os
import sys

import numpy as np
import peft
import torch
from peft import LoraConfig, get_peft_model
from peft.utils import merge_utils

sys.path.insert(0, os.path.dirname(__file__))
import pinned  # noqa: E402
import tiny  # noqa: E402

COMMAND = ".deps/reference/bin/python tests/golden/make_entry_goldens.py"
OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "entries")
VERSIONS = {"peft": (peft.__version__, "0.21.2"),
            "torch": (torch.__version__.split("+")[0], "2.11.0")}
SEED = 31  # Of the inputs.


def splitmix(state):
    z = np.uint64(state) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def mask(shape, probability, seed, stream, term):
    """Boolean; `probability` is a number or an array of `shape`."""
    with np.errstate(over="ignore"):
        key = splitmix(splitmix(splitmix(seed) + np.uint64(stream)) +
                       np.uint64(term))
        index = np.arange(np.prod(shape), dtype=np.uint64)
        bits = splitmix(key + index * np.uint64(0x9E3779B97F4A7C15))
    threshold = np.floor(np.asarray(probability, np.float64) * 2.0**32)
    return (bits >> np.uint64(32)).reshape(shape).astype(np.float64) < threshold


def keep_largest(t, density, gamma=0.0):
    """Without the int(gamma n) largest, the int(density n) next largest."""
    order = np.argsort(np.abs(t).ravel(), kind="stable")
    top = len(order) - int(gamma * t.size)
    kept = np.zeros(t.size)
    kept[order[max(0, top - int(density * t.size)):top]] = 1
    return t * kept.reshape(t.shape)


def same_l1(t, masked):
    before, after = np.abs(t).sum(), np.abs(masked).sum()
    return masked if before < 1e-7 or after < 1e-7 else masked * before / after


def sparsify(t, o, stream, term):
    method, density, peft_way = o["method"], o["density"], o["dialect"] == "peft"
    if method in ("ties", "magnitude_prune"):
        return keep_largest(t, density)
    if method == "breadcrumbs":
        return keep_largest(t, density, o["gamma"])
    if method == "dare":
        kept = t * mask(t.shape, density, o["seed"], stream, term)
        return kept / density if peft_way else same_l1(t, kept)
    assert method == "della"
    ranks = np.abs(t).argsort(axis=1, kind="stable").argsort(axis=1)
    p = density - o["epsilon"] + ranks / (t.shape[1] - 1) * 2 * o["epsilon"]
    kept = t * mask(t.shape, p, o["seed"], stream, term)
    return kept / p if peft_way else same_l1(t, kept)


def merge(terms, weights, o, stream):
    terms = np.stack([sparsify(t, o, stream, i) for i, t in enumerate(terms)])
    w = np.asarray(weights).reshape(-1, *[1] * (terms.ndim - 1))
    if not (o["method"] == "ties" or o.get("elect_signs")):
        return (w * terms).sum(0)
    peft_way = o["dialect"] == "peft"
    votes = terms if peft_way else w * terms
    count = np.sign(votes) if o["sign_election"] == "frequency" else votes
    keep = np.sign(votes) == np.where(count.sum(0) >= 0, 1, -1)
    merged = (w * terms * keep).sum(0)
    if peft_way:
        return merged / np.maximum(1, keep.sum(0))
    if o["method"] in ("ties", "della"):
        divisor = (w * keep).sum(0)
        divisor[np.abs(divisor) < 1e-8] = 1
        return merged / divisor
    return merged


def check_with_peft(terms, weights, o, merged):
    tensors = [torch.from_numpy(t) for t in terms]
    w = torch.tensor(weights, dtype=torch.float64)
    if o["method"] == "ties":
        theirs = merge_utils.ties(tensors, w, o["density"], o["sign_election"])
    else:
        theirs = merge_utils.magnitude_prune(tensors, w, o["density"])
    assert np.abs(theirs.numpy() - merged).max() < 1e-12, o


def rule_options():
    for dialect in ("peft", "mergekit"):
        for election in ("total", "frequency"):
            both = {"dialect": dialect, "sign_election": election}
            yield {"method": "ties", "density": 0.3, **both}
            yield {"method": "ties", "density": 0.7, **both}
            for method, more in (("dare", {"seed": 9}),
                                 ("della", {"seed": 9, "epsilon": 0.15}),
                                 ("breadcrumbs", {"gamma": 0.05})):
                yield {"method": method, "density": 0.4, "elect_signs": True,
                       **more, **both}
        plain = {"dialect": dialect, "sign_election": "total"}
        yield {"method": "dare", "density": 0.25, "seed": 2**63 + 5, **plain}
        yield {"method": "della", "density": 0.6, "epsilon": 0.3, "seed": 0,
               **plain}
        yield {"method": "breadcrumbs", "density": 0.85, "gamma": 0.1, **plain}
    plain = {"dialect": "peft", "sign_election": "total"}
    yield {"method": "magnitude_prune", "density": 0.3, **plain}
    yield {"method": "magnitude_prune", "density": 1.0, **plain}
    yield {"method": "ties", "density": 0.001, **plain}  # Keeps nothing.
    yield {"method": "ties", "density": 1.0, **plain}


def make_rules():
    arrays, cases = {}, []
    for o in rule_options():
        for shape in ((9, 31), (70, 5)):
            for weights in ([1.0, 0.75, -0.5], [0.5, 1.5, 0.25]):
                names = [f"rule.lora_{i}.{shape[0]}" for i in range(3)]
                terms = [tiny.stored(n, shape, SEED, "F32").astype(np.float64)
                         for n in names]
                merged = merge(terms, weights, o, stream=7)
                if o["dialect"] == "peft" and o["method"] in (
                        "ties", "magnitude_prune"):
                    check_with_peft(terms, weights, o, merged)
                key = f"case{len(cases)}"
                arrays[key] = merged
                cases.append({"options": o, "terms": names, "shape": shape,
                              "seed": SEED, "weights": weights, "stream": 7,
                              "merged": key})
    write("rules", {"cases": cases}, arrays)


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.both = torch.nn.Linear(40, 24, bias=False)
        self.some = torch.nn.Linear(24, 56, bias=False)

    def forward(self, x):
        return self.some(self.both(x))


# name: (alpha, targets); all of rank 4.
ADAPTERS = {"one": (8, ["both", "some"]), "two": (3, ["both"]),
            "three": (6, ["both", "some"])}
RANK = 4
# type: the options that it stands for
TYPES = {
    "linear": {"method": "linear"},
    "magnitude_prune": {"method": "magnitude_prune", "space": "factors"},
    "ties": {"method": "ties", "space": "factors"},
    "dare_linear": {"method": "dare", "space": "factors", "seed": 12},
    "dare_ties": {"method": "dare", "space": "factors", "seed": 12,
                  "elect_signs": True},
    "svd": {"method": "svd", "rank": 6},
    "magnitude_prune_svd": {"method": "magnitude_prune", "space": "delta",
                            "rank": 6},
    "ties_svd": {"method": "ties", "space": "delta", "rank": 6},
    "dare_linear_svd": {"method": "dare", "space": "delta", "seed": 12,
                        "rank": 6},
    "dare_ties_svd": {"method": "dare", "space": "delta", "seed": 12,
                      "elect_signs": True, "rank": 6},
}


def small_model():
    torch.manual_seed(0)
    model = None
    for name, (alpha, targets) in ADAPTERS.items():
        config = LoraConfig(r=RANK, lora_alpha=alpha, target_modules=targets)
        if model is None:
            model = get_peft_model(Small(), config, adapter_name=name)
        else:
            model.add_adapter(name, config)
        for target in targets:
            layer = getattr(model.base_model.model, target)
            for side, linear in (("A", layer.lora_A), ("B", layer.lora_B)):
                weight = linear[name].weight
                key = f"{name}.{target}.lora_{side}.weight"
                weight.data = torch.from_numpy(
                    tiny.stored(key, tuple(weight.shape), SEED, "F32"))
    return model


class OurMasks:
    """Stands in for torch.bernoulli while PEFT merges, module by module."""

    def __init__(self, seed, is_dense):
        self.seed, self.is_dense, self.calls = seed, is_dense, []
        for module, target in enumerate(("both", "some")):
            users = [n for n, (_, t) in ADAPTERS.items() if target in t]
            for side in ((0,) if is_dense else (0, 1)):
                for term in range(len(users)):
                    self.calls.append((2 * module + side, term))

    def __call__(self, p):
        stream, term = self.calls.pop(0)
        # The tensor holds the density in float32; masks take it as written.
        density = round(p.flatten()[0].item(), 6)
        kept = mask(tuple(p.shape), density, self.seed, stream, term)
        return torch.from_numpy(kept.astype(np.float32))


def make_peft():
    arrays, cases = {}, []
    names = list(ADAPTERS)
    plain = torch.bernoulli
    for kind, stands_for in TYPES.items():
        for election in ("total", "frequency"):
            votes = "ties" in kind
            if election == "frequency" and not votes:
                continue
            for weights in ([1.0, 0.7, 0.4], [0.8, -1.2, 0.5]):
                density = None if kind in ("linear", "svd") else 0.3
                model = small_model()
                if "dare" in kind:
                    density = 0.6
                    torch.bernoulli = OurMasks(stands_for["seed"],
                                               kind.endswith("svd"))
                model.add_weighted_adapter(
                    names, weights, "mix", combination_type=kind,
                    svd_rank=6 if kind.endswith("svd") else None,
                    density=density, majority_sign_method=election)
                torch.bernoulli = plain
                options = {**stands_for, "sign_election": election}
                if density is not None:
                    options["density"] = density
                case = {"type": kind, "options": options, "weights": weights,
                        "modules": []}
                for index, target in enumerate(("both", "some")):
                    layer = getattr(model.base_model.model, target)
                    assert layer.scaling["mix"] == 1.0
                    a = layer.lora_A["mix"].weight.detach().double().numpy()
                    b = layer.lora_B["mix"].weight.detach().double().numpy()
                    key = f"peft{len(cases)}.{target}"
                    entry = {"name": target, "stream": index,
                             "product": key + ".product"}
                    arrays[key + ".product"] = b @ a
                    if not kind.endswith("svd"):
                        entry.update(a=key + ".a", b=key + ".b")
                        arrays[key + ".a"], arrays[key + ".b"] = a, b
                    case["modules"].append(entry)
                cases.append(case)
    write("peft", {
        "rank": RANK, "seed": SEED,
        "sizes": {"both": [40, 24], "some": [24, 56]},
        "adapters": [{"name": n, "alpha": a, "targets": t}
                     for n, (a, t) in ADAPTERS.items()],
        "cases": cases}, arrays)


def write(name, document, arrays):
    header, chunks, offset = {}, [], 0
    for key, array in arrays.items():
        data = array.astype("<f4").tobytes()
        header[key] = {"dtype": "F32", "shape": list(array.shape),
                       "data_offsets": [offset, offset + len(data)]}
        chunks.append(data)
        offset += len(data)
    with open(os.path.join(OUT, name + ".safetensors"), "wb") as f:
        f.write(tiny.safetensors_file(header, chunks))
    versions = {n: have for n, (have, _) in VERSIONS.items()}
    with open(os.path.join(OUT, name + ".json"), "w") as f:
        json.dump({"command": COMMAND, "versions": versions, **document}, f,
                  indent=1)
        f.write("\n")


def main():
    pinned.check(VERSIONS)
    torch.set_num_threads(1)
    os.makedirs(OUT, exist_ok=True)
    make_rules()
    make_peft()


if __name__ == "__main__":
    main()
