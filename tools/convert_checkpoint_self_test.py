"""Self-test of convert_checkpoint.py: small models in every layout it knows give one folder, and bad files are refused.

    python tools/convert_checkpoint.py --self-test
"""

import contextlib
import io
import json
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from checkpoint_tensors import ConversionError
from convert_checkpoint import convert, parse_arguments

WIDTH, ROWS, INNER = 8, 50_264, 16
LENGTH, FEATURES, HIDDEN = 12, 5, 6


def shared(layers: int, rows: int) -> dict:
    shapes = {"backbone.embeddings.word_embeddings.weight": [rows, WIDTH]}
    for i in range(layers):
        at = f"backbone.layers.{i}"
        for norm in ("norm1", "norm2"):
            shapes |= {f"{at}.{norm}.weight": [WIDTH], f"{at}.{norm}.bias": [WIDTH]}
        shapes |= {f"{at}.mlp.fc1.weight": [INNER, WIDTH], f"{at}.mlp.fc1.bias": [INNER]}
        shapes |= {f"{at}.mlp.fc2.weight": [WIDTH, INNER], f"{at}.mlp.fc2.bias": [WIDTH]}
    return shapes | {"backbone.ln_f.weight": [WIDTH], "backbone.ln_f.bias": [WIDTH]}


def draw(shapes: dict) -> dict:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def h3_model() -> dict:
    """Layers H3, attention (rotary), H3 under the current names."""
    shapes = shared(3, ROWS)
    for i in (0, 2):
        at = f"backbone.layers.{i}.mixer"
        for part in ("q_proj", "k_proj", "v_proj", "output_linear"):
            shapes |= {f"{at}.{part}.weight": [WIDTH, WIDTH], f"{at}.{part}.bias": [WIDTH]}
        shapes |= {f"{at}.ssm_k_kernel.kernel.B": [WIDTH, 64], f"{at}.ssm_k_kernel.kernel.C": [1, WIDTH, 64]}
        shapes |= {f"{at}.ssm_k_D": [WIDTH], f"{at}.D": [WIDTH], f"{at}.kernel.kernel.log_dt": [WIDTH]}
        shapes |= {f"{at}.kernel.kernel.inv_A_real": [WIDTH, 32], f"{at}.kernel.kernel.A_imag": [WIDTH, 32]}
        shapes |= {f"{at}.kernel.kernel.B": [WIDTH, 32, 2], f"{at}.kernel.kernel.C": [1, WIDTH, 32, 2]}
    at = "backbone.layers.1.mixer"
    shapes |= {f"{at}.Wqkv.weight": [3 * WIDTH, WIDTH], f"{at}.Wqkv.bias": [3 * WIDTH]}
    shapes |= {f"{at}.out_proj.weight": [WIDTH, WIDTH], f"{at}.out_proj.bias": [WIDTH]}
    model = draw(shapes)
    model[f"{at}.rotary_emb.inv_freq"] = torch.tensor([1.0, 0.01])
    model["lm_head.weight"] = model["backbone.embeddings.word_embeddings.weight"]
    return model


def hyena_model(rows: int = ROWS) -> dict:
    shapes = shared(2, rows)
    for i in range(2):
        at = f"backbone.layers.{i}.mixer"
        shapes |= {f"{at}.in_proj.weight": [3 * WIDTH, WIDTH], f"{at}.in_proj.bias": [3 * WIDTH]}
        shapes |= {f"{at}.short_filter.weight": [3 * WIDTH, 1, 3], f"{at}.short_filter.bias": [3 * WIDTH]}
        shapes |= {f"{at}.out_proj.weight": [WIDTH, WIDTH], f"{at}.out_proj.bias": [WIDTH]}
        net = f"{at}.filter_fn.implicit_filter"
        shapes |= {f"{at}.filter_fn.bias": [WIDTH], f"{net}.0.weight": [HIDDEN, FEATURES], f"{net}.0.bias": [HIDDEN]}
        for inner in (2, 4):
            shapes |= {f"{net}.{inner}.weight": [HIDDEN, HIDDEN], f"{net}.{inner}.bias": [HIDDEN]}
        shapes |= {f"{net}.6.weight": [WIDTH, HIDDEN], f"{net}.1.freq": [1, HIDDEN]}
        shapes |= {f"{at}.filter_fn.pos_emb.z": [1, LENGTH, FEATURES], f"{at}.filter_fn.pos_emb.t": [1, LENGTH, 1]}
        shapes |= {f"{at}.filter_fn.modulation.deltas": [1, 1, WIDTH]}
    model = draw(shapes)
    for i in range(2):
        net = f"backbone.layers.{i}.mixer.filter_fn.implicit_filter"
        model[f"{net}.3.freq"] = model[f"{net}.5.freq"] = model[f"{net}.1.freq"]
    model["lm_head.weight"] = model["backbone.embeddings.word_embeddings.weight"]
    return model


def renamed(model: dict, change) -> dict:
    return {change(name): tensor for name, tensor in model.items()}


def old_names(model: dict, layers: int) -> dict:
    """The names of the first H3 checkpoints, norms shifted: written out, not derived from the converter's rules."""
    norms = {"backbone.layers.0.norm1": "s4seq.encoder.norm", "backbone.ln_f": f"s4seq.encoder.layers.{layers - 1}.norm2"}
    for i in range(layers):
        norms[f"backbone.layers.{i}.norm2"] = f"s4seq.encoder.layers.{i}.norm1"
        if i > 0:
            norms[f"backbone.layers.{i}.norm1"] = f"s4seq.encoder.layers.{i - 1}.norm2"

    def change(name: str) -> str:
        module, _, kind = name.rpartition(".")
        if module in norms:
            return f"{norms[module]}.{kind}"
        if module == "backbone.embeddings.word_embeddings":
            return f"embedding.{kind}"
        return name.replace("backbone.", "s4seq.encoder.", 1)

    return renamed(model, change)


def stacked(model: dict) -> dict:
    """As safari has H3: q, k and v in one."""
    model = renamed(model, lambda name: name.replace(".output_linear.", ".out_proj."))
    for i in (0, 2):
        at = f"backbone.layers.{i}.mixer"
        for kind in ("weight", "bias"):
            model[f"{at}.Wqkv.{kind}"] = torch.cat([model.pop(f"{at}.{part}_proj.{kind}") for part in "qkv"])
    return model


def lightning(model: dict) -> dict:
    state = renamed(model, lambda name: f"model.{name}") | {"metrics.total": torch.tensor(1.0)}
    return {"pytorch-lightning_version": "1.8.6", "state_dict": state, "epoch": 3}


def wrapped(model: dict) -> dict:
    """As activation checkpointing names them."""
    return renamed(model, lambda name: name.replace(".mixer.", ".mixer.layer.").replace(".mlp.", ".mlp.layer."))


def one_frequency(model: dict, kept: int) -> dict:
    return {name: t for name, t in model.items() if not name.endswith(".freq") or name.endswith(f".{kept}.freq")}


def without(model: dict, name: str) -> dict:
    return {key: tensor for key, tensor in model.items() if key != name}


class Code:
    """Pickled, this is an instruction to make a file."""

    def __init__(self, made: Path):
        self.made = made

    def __reduce__(self):
        return Path.touch, (self.made,)


class SelfTest:
    def __init__(self, scratch: Path):
        self.scratch, self.passed, self.failed = scratch, 0, 0

    def report(self, name: str, fault: str | None) -> None:
        self.passed += fault is None
        self.failed += fault is not None
        print(f"ok   {name}" if fault is None else f"FAIL {name}: {fault}")

    def convert(self, saved, *arguments: str, file: str = "model.pt") -> tuple:
        """(config.json, tensors) of what is converted."""
        source, folder = self.scratch / file, self.scratch / "folder"
        if file.endswith(".safetensors"):
            save_file({name: tensor.clone() for name, tensor in saved.items()}, source)
        else:
            torch.save(saved, source)
        with contextlib.redirect_stdout(io.StringIO()):
            convert(source, folder, parse_arguments([str(source), str(folder), *arguments]))
        return json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")

    def same(self, name: str, wanted: tuple, saved, *arguments: str, file: str = "model.pt") -> None:
        try:
            config, tensors = self.convert(saved, *arguments, file=file)
        except ConversionError as error:
            return self.report(name, str(error))
        wanted_config, wanted_tensors = wanted
        if config != wanted_config:
            return self.report(name, f"config.json is {config}, not {wanted_config}")
        if tensors.keys() != wanted_tensors.keys():
            return self.report(name, f"names differ: {sorted(tensors.keys() ^ wanted_tensors.keys())[:4]}")
        differ = [key for key in tensors if not torch.equal(tensors[key], wanted_tensors[key])]
        self.report(name, f"values differ: {differ[:4]}" if differ else None)

    def holds(self, name: str, fact: bool) -> None:
        self.report(name, None if fact else "is not so")

    def refuses(self, name: str, wanted: str, saved, *arguments: str) -> None:
        try:
            self.convert(saved, *arguments)
        except ConversionError as error:
            named = str(self.scratch / "model.pt") in str(error) and wanted in str(error)
            return self.report(name, None if named else f"it says: {error}")
        self.report(name, "it was converted")


def test_h3(test: SelfTest) -> None:
    model = h3_model()
    plain = test.convert(model, "--heads", "2")
    config, tensors = plain
    test.holds("H3: attention layers and rotary are found", config["attention_layers"] == [1] and config["rotary_dims"] == 4)
    test.holds("H3: GPT-2's end token", config["eos_token_id"] == 50_256)
    test.holds("H3: the tied head is left out", "lm_head.weight" not in tensors and config["tie_word_embeddings"])
    q = model["backbone.layers.2.mixer.k_proj.weight"]
    test.holds("H3: k is the second third", torch.equal(tensors["backbone.layers.2.mixer.Wqkv.weight"][WIDTH : 2 * WIDTH], q))
    test.same("H3: Lightning", plain, lightning(model), "--heads", "2")
    test.same("H3: old names with shifted norms", plain, old_names(model, 3), "--heads", "2")
    test.same("H3: old names in Lightning", plain, lightning(old_names(model, 3)), "--heads", "2")
    test.same("H3: stacked projections", plain, stacked(model), "--heads", "2")
    test.same("H3: stacked projections, old norms", plain, old_names(stacked(model), 3), "--heads", "2")
    own_head = test.convert(model | {"lm_head.weight": torch.ones(ROWS, WIDTH)}, "--heads", "2")
    test.holds("H3: a head of its own stays", "lm_head.weight" in own_head[1] and not own_head[0]["tie_word_embeddings"])
    halves = test.convert({name: tensor.half() for name, tensor in model.items()}, "--heads", "2")[1]
    types = {name: str(tensor.dtype) for name, tensor in halves.items()}
    test.holds("H3: f16 matrices stay f16", types["backbone.layers.0.mlp.fc1.weight"] == "torch.float16")
    test.holds("H3: state-space tensors are f32", types["backbone.layers.0.mixer.kernel.kernel.C"] == "torch.float32")
    test.refuses("H3: unknown heads", "--heads", model)
    test.refuses("H3: heads that do not divide", "multiple of --heads", model, "--heads", "3")
    test.refuses("H3: a tensor missing", "mixer.ssm_k_D is missing", without(model, "backbone.layers.0.mixer.ssm_k_D"), "--heads", "2")
    test.refuses("H3: a tensor too many", "of no use", model | {"backbone.pos.weight": torch.ones(3)}, "--heads", "2")
    bias = "backbone.layers.0.mlp.fc1.bias"
    test.refuses("H3: a wrong shape", f"{bias} must have shape [16], it has [3]", model | {bias: torch.ones(3)}, "--heads", "2")
    test.refuses(
        "H3: head_dim above 1", "head_dim above 1",
        model | {"backbone.layers.0.mixer.D": torch.ones(1)}, "--heads", "2",
    )
    test.refuses(
        "H3: unusual rotary frequencies", "inv_freq",
        model | {"backbone.layers.1.mixer.rotary_emb.inv_freq": torch.tensor([1.0, 0.5])}, "--heads", "2",
    )


def test_hyena(test: SelfTest) -> None:
    model = hyena_model()
    plain = test.convert(model)
    config, tensors = plain
    test.holds("Hyena: filters' length", config["max_seq_len"] == LENGTH)
    test.holds("Hyena: window on, shift 0", config["filter_window"] and config["filter_shift"] == 0)
    test.holds("Hyena: one freq, no t", not any(name.endswith((".3.freq", ".5.freq", "pos_emb.t")) for name in tensors))
    test.same("Hyena: Lightning", plain, lightning(model))
    test.same("Hyena: activation checkpointing", plain, lightning(wrapped(model)))
    test.same("Hyena: old names with shifted norms", plain, old_names(model, 2))
    for kept in (1, 3, 5):
        test.same(f"Hyena: .{kept}.freq alone", plain, one_frequency(model, kept))
    prefixed = renamed(model, lambda name: name if name == "lm_head.weight" else f"hyena.{name}")
    test.same("Hyena: safetensors with Hugging Face's prefix", plain, one_frequency(prefixed, 5), file="model.safetensors")
    dna = test.convert(hyena_model(rows=16))[0]
    test.holds("Hyena: DNA has shift 0.05 and its own end", dna["filter_shift"] == 0.05 and dna["eos_token_id"] == 1)
    flagged = test.convert(model, "--filter-window", "off", "--filter-shift", "0.25", "--eos-token", "7")[0]
    test.holds("Hyena: flags go first", (flagged["filter_window"], flagged["filter_shift"], flagged["eos_token_id"]) == (False, 0.25, 7))
    z = "backbone.layers.0.mixer.filter_fn.pos_emb.z"
    test.holds("Hyena: without z, --context says the length", test.convert(without(model, z), "--context", "12")[0]["max_seq_len"] == 12)
    test.refuses("Hyena: without z and --context", "--context", without(model, z))
    test.refuses("Hyena: another length", "other filters", model, "--context", "24")
    freq = "backbone.layers.1.mixer.filter_fn.implicit_filter.5.freq"
    test.refuses("Hyena: sines that differ", "must be equal", model | {freq: torch.ones(1, HIDDEN)})
    test.refuses("Hyena: order 3", "order 3", model | {"backbone.layers.0.mixer.in_proj.weight": torch.ones(4 * WIDTH, WIDTH)})
    test.refuses("an unknown vocabulary", "--eos-token", hyena_model(rows=24))


def test_files(test: SelfTest) -> None:
    made = test.scratch / "made"
    test.refuses("pickled code", "run code", {"state_dict": hyena_model(), "extra": Code(made)})
    test.holds("pickled code is not run", not made.exists())
    test.refuses("no dictionary", "must hold a dictionary", torch.ones(2))
    test.refuses("no tensor", "must be a tensor", {"epoch": 3})
    test.refuses("another architecture", "no layer is", {"transformer.wte.weight": torch.ones(2, 2)})
    test.refuses("two models in one", "under two names", hyena_model() | {"s4seq.encoder.ln_f.bias": torch.ones(WIDTH)})
    test.refuses("old and new norms in one", "ln_f", hyena_model() | {"backbone.norm.weight": torch.ones(WIDTH)})
    for name, content in (("an empty file", b""), ("a text", b"version https://git-lfs")):
        path = test.scratch / "broken.pt"
        path.write_bytes(content)
        try:
            convert(path, test.scratch / "folder", parse_arguments([str(path), "folder"]))
            test.report(name, "it was converted")
        except ConversionError as error:
            test.report(name, None if str(path) in str(error) else f"it says: {error}")


def run_self_test() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        test = SelfTest(Path(scratch))
        test_h3(test)
        test_hyena(test)
        test_files(test)
    print(f"{test.passed} passed, {test.failed} failed")
    return 1 if test.failed else 0
