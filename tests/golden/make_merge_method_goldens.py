"""Writes merge/spectral.*: what the spectral methods answer on small matrices.

    .deps/reference/bin/python tests/golden/make_merge_method_goldens.py

Versions that the files were made with: peft 0.21.2, torch 2.11.0, numpy 2.3.4.
The script refuses others.

Every method is written here from its formula, in float64 and on dense updates
wherever the method is defined on those, so that core spaces, thin
decompositions and Gram matrices have nothing in common with what they are
checked against. "svd" and "cat" come from PEFT's add_weighted_adapter as well,
and the script fails where PEFT and the formula disagree: PEFT up to 0.20
multiplied svd's weights by the scaling twice (pull request 3111), which would
show here.

spectral.json: cases (shape, skills, what was asked); spectral.safetensors: the
float32 factors "<case>.a0", "<case>.b0", ..., and the dense results.
"""

import json
import os
import sys

import numpy as np
import peft
import torch

sys.path.insert(0, os.path.dirname(__file__))
import pinned  # noqa: E402
import tiny  # noqa: E402

COMMAND = ".deps/reference/bin/python tests/golden/make_merge_method_goldens.py"
OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "merge")
VERSIONS = {
    "peft": (peft.__version__, "0.21.2"),
    "torch": (torch.__version__.split("+")[0], "2.11.0"),
    "numpy": (np.__version__, "2.3.4"),
}
DENSITY = 0.6  # Of the entry rule below.

# name: out, in, [(rank, scale, weight)], rank of truncated results
CASES = {
    "equal_ranks": (24, 20, [(4, 2.0, 0.7), (4, 2.0, 1.0), (4, 2.0, -0.4)], 5),
    "mixed_ranks": (40, 18, [(1, 0.5, 1.0), (3, 2.0, 0.5), (6, 1.0, 1.5)], 4),
    "more_ranks_than_outputs": (
        12, 9, [(5, 1.0, 1.0), (4, 2.0, 0.5), (6, 0.5, 1.0)], 3),
    "alone": (16, 30, [(6, 2.0, 0.8)], 2),
}


class Case:
    """One module's skills: factors as stored, float32; work in float64."""

    def __init__(self, name):
        self.out, self.inp, skills, self.rank = CASES[name]
        self.scales = [s for _, s, _ in skills]
        self.weights = [w for _, _, w in skills]
        seed = np.random.default_rng(tiny.fnv1a64(name))
        # A common part: skills of one base model are never unrelated.
        common = seed.standard_normal((self.out, 2))
        self.a, self.b = [], []
        for rank, _, _ in skills:
            b = seed.standard_normal((self.out, rank))
            b += common @ seed.standard_normal((2, rank))
            a = seed.standard_normal((rank, self.inp)) / np.sqrt(self.inp)
            self.a.append(a.astype(np.float32))
            self.b.append(b.astype(np.float32))

    def deltas(self):
        return [s * b.astype(np.float64) @ a.astype(np.float64)
                for s, a, b in zip(self.scales, self.a, self.b)]

    def total_rank(self):
        return sum(a.shape[0] for a in self.a)

    def num_directions(self):
        return min(self.out, self.inp, self.total_rank())


def svd(x, rank=None):
    u, s, vt = np.linalg.svd(np.asarray(x, np.float64), full_matrices=False)
    k = len(s) if rank is None else rank
    return u[:, :k], s[:k], vt[:k]


def truncated(x, rank):
    u, s, vt = svd(x, rank)
    return (u * s) @ vt


def weighted_sum(terms, weights):
    return sum(w * t for w, t in zip(weights, terms))


def entry_rule(terms, weights):
    """Keep the DENSITY largest entries of each term, elect a sign per entry by
    the weighted sum, average who agrees. Not linear, so bases matter; and does
    not care about the signs of basis vectors. tests/merge/merge_terms.h has it
    too."""
    kept = []
    for w, t in zip(weights, terms):
        threshold = np.sort(np.abs(t).ravel())[-int(DENSITY * t.size)]
        kept.append(w * t * (np.abs(t) >= threshold))
    sign = np.where(sum(kept) >= 0, 1.0, -1.0)
    agree = [k * (k * sign > 0) for k in kept]
    count = sum((k * sign > 0).astype(float) for k in kept)
    return sum(agree) / np.maximum(count, 1)


def core_space(case):
    """arXiv:2509.17786: bases from the SVD of the stacked factors."""
    u = svd(np.concatenate(case.b, axis=1))[0]
    vt = svd(np.concatenate(case.a, axis=0))[2]
    cores = [u.T @ d @ vt.T for d in case.deltas()]
    return u @ entry_rule(cores, case.weights) @ vt


def knots(case):
    """arXiv:2410.19735, the rule on S V_t."""
    k = min(case.out, case.total_rank())
    u, s, vt = svd(np.concatenate(case.deltas(), axis=1), k)
    parts = np.split(s[:, None] * vt, len(case.a), axis=1)
    return u @ entry_rule(parts, case.weights)


def tsv(case):
    """arXiv:2412.00081: U and V of all skills, made orthonormal."""
    us, ss, vs = [], [], []
    for delta, weight, a in zip(case.deltas(), case.weights, case.a):
        u, s, vt = svd(delta, min(a.shape[0], *delta.shape))
        us.append(u)
        ss.append(weight * s)
        vs.append(vt)
    u, _, w = svd(np.concatenate(us, axis=1))
    x, _, vt = svd(np.concatenate(vs, axis=0))
    return (u @ w) @ np.diag(np.concatenate(ss)) @ (x @ vt)


def iso(case, rank):
    """arXiv:2502.04959 on the directions that are there."""
    u, s, vt = svd(weighted_sum(case.deltas(), case.weights), rank)
    return s.mean() * u @ vt


def compress_then_merge(case, beta):
    """arXiv:2606.03723 on dense updates: HOSVD, then HOOI until it rests."""
    deltas = case.deltas()
    rank = min(case.rank, case.num_directions())
    norms = [np.linalg.norm(d) for d in deltas]
    mean = np.mean(norms)
    x = np.stack([(beta * n + (1 - beta) * mean) * d / n
                  for n, d in zip(norms, deltas)])  # [T, out, in]
    v = svd(np.concatenate([t.T for t in x], axis=1), rank)[0]
    before = 0
    for _ in range(20000):
        u = svd(np.concatenate([t @ v for t in x], axis=1), rank)[0]
        v, s, _ = svd(np.concatenate([t.T @ u for t in x], axis=1), rank)
        if abs(s @ s - before) <= 1e-15 * (s @ s):
            break
        before = s @ s
    merged = entry_rule([u.T @ d @ v for d in deltas], case.weights)
    return u @ merged @ v.T


def pico(case):
    """arXiv:2604.16826, then cat, then its rescaling. Calibrated b, result."""
    stack = np.concatenate(case.b, axis=1).astype(np.float64)
    u, s, _ = svd(stack)
    sigma = s**2 / (s**2).sum()
    alpha = 1 / (1 + (len(case.b) - 1) * sigma)
    b = [(np.eye(case.out) + u @ np.diag(alpha - 1) @ u.T) @ x for x in case.b]
    merged = sum(w * s * x @ a for w, s, x, a in
                 zip(case.weights, case.scales, b, case.a))
    mean = np.mean([abs(w) * np.linalg.norm(d)
                    for w, d in zip(case.weights, case.deltas())])
    return np.concatenate(b, axis=1), merged * mean / np.linalg.norm(merged)


def statistics(delta, rank):
    s = svd(delta, min(rank, *delta.shape))[1]
    share = s / s.sum()
    energy = np.cumsum(s**2) / (s**2).sum()
    return {"frobenius_norm": np.linalg.norm(delta), "spectral_norm": s[0],
            "stable_rank": (s**2).sum() / s[0]**2,
            "effective_rank": np.exp(-(share * np.log(share)).sum()),
            "k90": int(np.searchsorted(energy, 0.9)) + 1}


def overlap(x, y):
    """cos^2 of the principal angles, averaged."""
    p, q = np.linalg.qr(x)[0], np.linalg.qr(y)[0]
    angles = np.linalg.svd(p.T @ q, compute_uv=False)
    return float((angles**2).sum() / min(p.shape[1], q.shape[1]))


def pair(case):
    d0, d1 = case.deltas()[:2]
    return {"cosine": (d0 * d1).sum() / np.linalg.norm(d0) / np.linalg.norm(d1),
            "output_overlap": overlap(case.b[0], case.b[1]),
            "input_overlap": overlap(case.a[0].T, case.a[1].T)}


def by_peft(case, kind):
    """The dense update of add_weighted_adapter(combination_type=kind)."""
    model = torch.nn.ModuleDict(
        {"proj": torch.nn.Linear(case.inp, case.out, bias=False)})
    names = [f"skill{i}" for i in range(len(case.a))]
    for i, name in enumerate(names):
        rank = case.a[i].shape[0]
        config = peft.LoraConfig(r=rank, lora_alpha=case.scales[i] * rank,
                                 target_modules=["proj"])
        if i == 0:
            model = peft.PeftModel(model, config, adapter_name=name)
        else:
            model.add_adapter(name, config)
        layer = model.base_model.model["proj"]
        layer.lora_A[name].weight.data = torch.from_numpy(case.a[i])
        layer.lora_B[name].weight.data = torch.from_numpy(case.b[i])
    extra = {"svd_rank": case.rank} if kind == "svd" else {}
    model.add_weighted_adapter(names, case.weights, "mix",
                               combination_type=kind, **extra)
    return layer.get_delta_weight("mix").detach().double().numpy()


def check_peft(name, kind, answer, formula):
    difference = np.abs(answer - formula).max()
    print(f"{name}: PEFT's {kind} against the formula {difference:.1e}")
    if difference > 1e-5:
        sys.exit(f"{name}: PEFT's {kind} is not the formula's")
    return answer


def results_of(name, case):
    cat = weighted_sum(case.deltas(), case.weights)
    calibrated_b, pico_cat = pico(case)
    core, by_knots, by_tsv = core_space(case), knots(case), tsv(case)
    results = {
        "core": core, "core_truncated": truncated(core, case.rank),
        "knots": by_knots, "knots_truncated": truncated(by_knots, case.rank),
        "tsv": by_tsv, "tsv_truncated": truncated(by_tsv, case.rank),
        "iso": iso(case, case.num_directions()),
        "iso_truncated": iso(case, case.rank),
        "ctm_beta1": compress_then_merge(case, 1.0),
        "ctm_beta03": compress_then_merge(case, 0.3),
        "calibrated_b": calibrated_b, "pico_cat": pico_cat,
    }
    if len(case.a) > 1:  # PEFT makes anything "linear" of one adapter.
        results["peft_cat"] = check_peft(name, "cat", by_peft(case, "cat"), cat)
        results["peft_svd"] = check_peft(name, "svd", by_peft(case, "svd"),
                                         truncated(cat, case.rank))
    else:
        results["formula_svd"] = truncated(cat, case.rank)
    return results


def write(document, arrays):
    header, chunks, offset = {}, [], 0
    for key, array in sorted(arrays.items()):
        data = np.ascontiguousarray(array, np.float32).tobytes()
        header[key] = {"dtype": "F32", "shape": list(array.shape),
                       "data_offsets": [offset, offset + len(data)]}
        chunks.append(data)
        offset += len(data)
    os.makedirs(OUT, exist_ok=True)
    with open(os.path.join(OUT, "spectral.safetensors"), "wb") as f:
        f.write(tiny.safetensors_file(header, chunks))
    versions = {k: v[1] for k, v in VERSIONS.items()}
    with open(os.path.join(OUT, "spectral.json"), "w") as f:
        json.dump({"command": COMMAND, "versions": versions, **document}, f,
                  indent=1)
        f.write("\n")


def main():
    pinned.check(VERSIONS)
    torch.set_num_threads(1)
    cases, arrays = [], {}
    for name in CASES:
        case = Case(name)
        results = results_of(name, case)
        for i, (a, b) in enumerate(zip(case.a, case.b)):
            arrays[f"{name}.a{i}"], arrays[f"{name}.b{i}"] = a, b
        for key, value in results.items():
            arrays[f"{name}.{key}"] = value
        cases.append({
            "name": name, "out": case.out, "in": case.inp, "rank": case.rank,
            "density": DENSITY,
            "skills": [{"rank": a.shape[0], "scale": s, "weight": w}
                       for a, s, w in zip(case.a, case.scales, case.weights)],
            "results": sorted(results),
            "statistics": [statistics(d, a.shape[0])
                           for d, a in zip(case.deltas(), case.a)],
            "pair": pair(case) if len(case.a) > 1 else None})
    write({"cases": cases}, arrays)


if __name__ == "__main__":
    main()
