"""Two ways to answer a prompt under a recipe, for evaluate.py."""

import concurrent.futures
import json
import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(HERE)
BASE = os.path.join(HERE, ".cache", "smollm2-135m-instruct")


class Transformers:
    """transformers and PEFT in this process; recipes through PEFT's cat."""

    def __init__(self, skills_folder, dtype="bfloat16", threads=1,
                 batch_size=24):
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(threads)
        self._torch = torch
        self._batch_size = batch_size
        self._tokenizer = AutoTokenizer.from_pretrained(
            BASE, padding_side="left")
        self._base = AutoModelForCausalLM.from_pretrained(
            BASE, dtype=getattr(torch, dtype))
        self._model = None
        self._skills_folder = skills_folder

    def _load(self, name):
        from peft import PeftModel

        folder = os.path.join(self._skills_folder, name)
        if self._model is None:
            self._model = PeftModel.from_pretrained(self._base, folder,
                                                    adapter_name=name)
        elif name not in self._model.peft_config:
            self._model.load_adapter(folder, adapter_name=name)

    def _activate(self, recipe):
        """Returns the model that computes under `recipe` ({} = the base)."""
        if not recipe:
            return self._base
        for name in recipe:
            self._load(name)
        names = sorted(recipe)
        mixed = "cat_" + "_".join(f"{n}={recipe[n]}" for n in names)
        # PEFT keeps adapters as torch modules, whose names hold no dots.
        mixed = mixed.replace(".", "p")
        if mixed not in self._model.peft_config:
            self._model.add_weighted_adapter(
                names, [float(recipe[n]) for n in names], mixed,
                combination_type="cat")
        self._model.set_adapter(mixed)
        return self._model

    def _generate(self, model, prompts, max_new_tokens):
        inputs = self._tokenizer(prompts, return_tensors="pt", padding=True)
        with self._torch.inference_mode():
            out = model.generate(**inputs, max_new_tokens=max_new_tokens,
                                 do_sample=False)
        return self._tokenizer.batch_decode(
            out[:, inputs.input_ids.shape[1]:], skip_special_tokens=True)

    def __call__(self, prompts, recipe, max_new_tokens):
        """The greedy answers to `prompts` under {skill: weight}."""
        disabled = None
        model = self._activate(recipe)
        if not recipe and self._model is not None:
            model, disabled = self._model, self._model.disable_adapter()
            disabled.__enter__()
        try:
            # Like lengths together: little padding.
            order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
            answers = [None] * len(prompts)
            for start in range(0, len(order), self._batch_size):
                rows = order[start:start + self._batch_size]
                texts = self._generate(model, [prompts[i] for i in rows],
                                       max_new_tokens)
                for i, text in zip(rows, texts):
                    answers[i] = text
            return answers
        finally:
            if disabled is not None:
                disabled.__exit__(None, None, None)


class Daemon:
    """A running stockpotd, asked through the command line client.

    Several clients at a time, so that the daemon batches them.
    """

    def __init__(self, address, client, num_clients=8):
        self._client = client or os.path.join(
            REPOSITORY, "build", "dev", "client", "stockpot")
        self._environment = dict(os.environ, STOCKPOT_ADDRESS=address)
        self._num_clients = num_clients

    def __call__(self, prompts, recipe, max_new_tokens, method="cat"):
        """The greedy answers to `prompts` under {skill: weight}.

        `method` is a method of the client with its options, as in
        "ties --density 0.3".
        """
        with concurrent.futures.ThreadPoolExecutor(
                self._num_clients) as clients:
            return list(clients.map(
                lambda p: self._one(p, recipe, max_new_tokens, method),
                prompts))

    def _one(self, prompt, recipe, max_new_tokens, method):
        command = [self._client, "generate", "--parse-special-tokens",
                   "--max-new-tokens", str(max_new_tokens), "--json"]
        if recipe:
            command += ["--recipe", ",".join(
                f"{name}={weight:g}" for name, weight in recipe.items())]
            command += ["--method"] + method.split()
        done = subprocess.run(command + ["--", prompt], text=True,
                              capture_output=True, env=self._environment)
        if done.returncode != 0:
            raise SystemExit(f"{self._client} generate failed:\n"
                             f"{done.stderr.strip()}")
        return json.loads(done.stdout.splitlines()[0])["text"]
