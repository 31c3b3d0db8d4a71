"""Writes a GPTBigCode checkpoint as ONNX in the layout transformers.js loads: OUT/onnx/model*.onnx and OUT/config.json.

The graph is written by hand, with onnxruntime's fused operators (GroupQueryAttention over a growing cache, FastGelu),
because a traced export spells attention out and repeats the one key head for every query head: the peers shall be
measured at their best. Inputs: input_ids, attention_mask [batch, length], num_logits_to_keep [] and past_key_values.N.key
and .value [batch, kv_heads, past, head_size]; outputs: logits, present.N.key and .value.

Weights of more than protobuf's 2 GiB lie beside the graph, in files of about 1 GB: model*.onnx_data, model*.onnx_data_1, ...

    python export_onnx.py MODEL_DIR OUT_DIR [--dtypes fp32 q8 fp16] [--check]
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from checkpoint import load_config, load_state

SUFFIX = {"fp32": "", "fp16": "_fp16", "q8": "_quantized"}
MAX_FILE_BYTES = 2**31 - 1
PART_BYTES = 2**30
SMALL_BYTES = 1024


class ExternalData:
    """Weights beside the graph at `path`, begun anew."""

    def __init__(self, path):
        self.path, self.parts = path, 0
        for old in path.parent.glob(f"{path.name}_data*"):
            old.unlink()
        self.next_part()

    def next_part(self):
        self.location = f"{self.path.name}_data" + (f"_{self.parts}" if self.parts else "")
        self.offset, self.parts = 0, self.parts + 1

    def add(self, name, array):
        """The tensor that names where its bytes lie."""
        if self.offset + array.nbytes > PART_BYTES and self.offset > 0:
            self.next_part()
        with (self.path.parent / self.location).open("ab") as file:
            array.tofile(file)
        tensor = TensorProto(name=name, dims=array.shape, data_type=helper.np_dtype_to_tensor_dtype(array.dtype))
        tensor.data_location = TensorProto.EXTERNAL
        where = {"location": self.location, "offset": self.offset, "length": array.nbytes}
        tensor.external_data.extend(onnx.StringStringEntryProto(key=key, value=str(value)) for key, value in where.items())
        self.offset += array.nbytes
        return tensor


class Export:
    """One graph under construction; every method returns the name of the value it adds. `path` is where it will lie."""

    def __init__(self, config, state, half, path):
        self.config, self.state = config, state
        self.dtype = torch.float16 if half else torch.float32
        self.external = ExternalData(path) if self.weight_bytes() > MAX_FILE_BYTES else None
        self.float = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        self.nodes, self.initializers, self.inputs, self.outputs = [], [], [], []

    def add(self, op, inputs, outputs=1, domain="", **attributes):
        names = [f"{op}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def weight_bytes(self):
        """Of the whole graph, in which a tied head is stored a second time, transposed."""
        tied = 0 if "lm_head.weight" in self.state else self.state["transformer.wte.weight"].numel()
        return (sum(tensor.numel() for tensor in self.state.values()) + tied) * self.dtype.itemsize

    def constant(self, name, array):
        array = np.array(array, order="C", copy=None)
        external = self.external and array.nbytes > SMALL_BYTES
        self.initializers.append(self.external.add(name, array) if external else numpy_helper.from_array(array, name))
        return name

    def weight(self, name, transpose=False):
        tensor = self.state[name].to(self.dtype)
        return self.constant(name + ("_t" if transpose else ""), (tensor.T if transpose else tensor).contiguous().numpy())

    def product(self, x, name):
        return self.add("MatMul", [x, self.weight(f"{name}.weight", True)])

    def linear(self, x, name):
        return self.add("Add", [self.product(x, name), self.weight(f"{name}.bias")])

    def layer_norm(self, x, name):
        inputs = [x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias")]
        return self.add("LayerNormalization", inputs, epsilon=self.config.get("layer_norm_epsilon", 1e-5))

    def add_and_norm(self, product, bias, x, norm):
        """x + product + bias, and its layer norm, in one pass: (norm, sum)."""
        inputs = [product, x, *(self.weight(f"{norm}.{part}") for part in ("weight", "bias")), self.weight(bias)]
        name = f"SkipLayerNormalization_{len(self.nodes)}"
        self.nodes.append(helper.make_node(
            "SkipLayerNormalization", inputs, [name, "", "", f"{name}_sum"], domain="com.microsoft",
            epsilon=self.config.get("layer_norm_epsilon", 1e-5),
        ))
        return name, f"{name}_sum"

    def attention(self, x, layer, name, lengths):
        heads, size = self.config["n_head"], self.config["n_embd"] // self.config["n_head"]
        past = []
        for part in ("key", "value"):
            shape = ["batch_size", 1, "past_sequence_length", size]
            self.inputs.append(helper.make_tensor_value_info(f"past_key_values.{layer}.{part}", self.float, shape))
            shape = ["batch_size", 1, "total_sequence_length", size]
            self.outputs.append(helper.make_tensor_value_info(f"present.{layer}.{part}", self.float, shape))
            past.append(f"past_key_values.{layer}.{part}")
        qkv = self.linear(x, f"{name}.c_attn")
        outputs = [f"attention_{layer}", f"present.{layer}.key", f"present.{layer}.value"]
        scale = size**-0.5 if self.config.get("scale_attn_weights", True) else 1.0
        self.nodes.append(helper.make_node(
            "GroupQueryAttention", [qkv, "", "", *past, *lengths], outputs, domain="com.microsoft",
            num_heads=heads, kv_num_heads=1, scale=scale,
        ))
        return outputs[0]

    def gelu(self, x):
        if self.config.get("activation_function", "gelu_pytorch_tanh") == "gelu":
            return self.add("Gelu", [x], domain="com.microsoft")
        return self.add("FastGelu", [x], domain="com.microsoft")

    def block(self, x, normed, layer, lengths):
        """The layer's sum and the norm of it that comes next: the next layer's, or the last."""
        name = f"transformer.h.{layer}"
        product = self.product(self.attention(normed, layer, f"{name}.attn", lengths), f"{name}.attn.c_proj")
        normed, x = self.add_and_norm(product, f"{name}.attn.c_proj.bias", x, f"{name}.ln_2")
        product = self.product(self.gelu(self.linear(normed, f"{name}.mlp.c_fc")), f"{name}.mlp.c_proj")
        after = f"transformer.h.{layer + 1}.ln_1" if layer + 1 < self.config["n_layer"] else "transformer.ln_f"
        normed, x = self.add_and_norm(product, f"{name}.mlp.c_proj.bias", x, after)
        return x, normed

    def embed(self):
        """Positions count on from the cached tokens; right for batches without padding, which is what is measured."""
        total = self.add("Shape", ["attention_mask"], start=1, end=2)
        new = self.add("Shape", ["input_ids"], start=1, end=2)
        total, new = self.add("Squeeze", [total]), self.add("Squeeze", [new])
        start = self.add("Sub", [total, new])
        positions = self.add("Range", [start, total, self.constant("one", np.array(1))])
        tokens = self.add("Gather", [self.weight("transformer.wte.weight"), "input_ids"])
        table = self.weight("transformer.wpe.weight")
        return self.add("Add", [tokens, self.add("Gather", [table, positions])]), total

    def lengths(self, total):
        """GroupQueryAttention's int32 inputs: the last key's index of each sequence, and the longest length."""
        valid = self.add("ReduceSum", ["attention_mask", self.constant("axis1", np.array([1]))], keepdims=0)
        last = self.add("Cast", [self.add("Sub", [valid, "one"])], to=TensorProto.INT32)
        return [last, self.add("Cast", [total], to=TensorProto.INT32)]

    def keep_last_rows(self, x):
        """x[:, -num_logits_to_keep:], and all rows for 0, since -0 starts a slice at the first row."""
        axes = self.constant("axes", np.array([1]))
        start = self.add("Unsqueeze", [self.add("Neg", ["num_logits_to_keep"]), self.constant("axis0", np.array([0]))])
        end = self.constant("end", np.array([np.iinfo(np.int64).max]))
        return self.add("Slice", [x, start, end, axes])

    def build(self):
        for name in ("input_ids", "attention_mask"):
            length = "sequence_length" if name == "input_ids" else "total_sequence_length"
            self.inputs.append(helper.make_tensor_value_info(name, TensorProto.INT64, ["batch_size", length]))
        self.inputs.append(helper.make_tensor_value_info("num_logits_to_keep", TensorProto.INT64, []))
        x, total = self.embed()
        lengths = self.lengths(total)
        normed = self.layer_norm(x, "transformer.h.0.ln_1")
        for layer in range(self.config["n_layer"]):
            x, normed = self.block(x, normed, layer, lengths)
        x = self.keep_last_rows(normed)
        head = "lm_head.weight" if "lm_head.weight" in self.state else "transformer.wte.weight"
        logits = self.add("MatMul", [x, self.weight(head, True)])
        self.nodes.append(helper.make_node("Cast", [logits], ["logits"], to=TensorProto.FLOAT))
        shape = ["batch_size", "num_logits", self.config["vocab_size"]]
        self.outputs.insert(0, helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape))
        graph = helper.make_graph(self.nodes, "gpt_bigcode", self.inputs, self.outputs, self.initializers)
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def write_dtype(dtype, config, state, folder):
    path = folder / f"model{SUFFIX[dtype]}.onnx"
    if dtype != "q8":
        onnx.save(Export(config, state, dtype == "fp16", path).build(), path)
        return path
    from onnxruntime.quantization import QuantType, quantize_dynamic

    full = folder / "model.onnx"
    if not full.exists():
        write_dtype("fp32", config, state, folder)
    quantize_dynamic(
        full, path, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8,
        # Shape inference knows nothing of the com.microsoft operators, so it cannot tell their type itself.
        extra_options={"DefaultTensorType": TensorProto.FLOAT},
    )
    return path


def run_onnx(path, config, ids):
    """Logits of the last row: all but one token first, then the last over the cache."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    size = config["n_embd"] // config["n_head"]
    kind = np.float16 if "float16" in session.get_inputs()[-1].type else np.float32
    empty = np.zeros((len(ids), 1, 0, size), kind)
    past = {i.name: empty for i in session.get_inputs() if i.name.startswith("past")}
    for start, end in ((0, ids.shape[1] - 1), (ids.shape[1] - 1, ids.shape[1])):
        feeds = {"input_ids": ids[:, start:end], "attention_mask": np.ones((len(ids), end), np.int64)}
        logits, *present = session.run(None, feeds | {"num_logits_to_keep": np.array(1)} | past)
        past = dict(zip(past, present))
    return logits[:, -1]


def check(path, config, state):
    """Largest difference from transformers' logits, as a share of the largest logit."""
    from transformers import GPTBigCodeConfig, GPTBigCodeForCausalLM

    model = GPTBigCodeForCausalLM(GPTBigCodeConfig(**config)).float().eval()
    model.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    ids = torch.randint(0, config["vocab_size"], (2, 24), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model(ids).logits[:, -1].numpy()
    error = np.abs(run_onnx(path, config, ids.numpy()) - expected).max() / np.abs(expected).max()
    print(f"{path.name}: largest logit difference {error:.1e} of max|logit|")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir")
    parser.add_argument("out_dir")
    parser.add_argument("--dtypes", nargs="+", choices=list(SUFFIX), default=["fp32", "q8"])
    parser.add_argument("--check", action="store_true", help="compare with transformers' logits")
    args = parser.parse_args()
    config, state = load_config(args.model_dir), load_state(args.model_dir)
    if not config.get("multi_query", True):
        raise SystemExit("export_onnx.py writes multi-query models only: set multi_query true or leave this peer out")
    folder = Path(args.out_dir) / "onnx"
    folder.mkdir(parents=True, exist_ok=True)
    # Without multi_query transformers.js looks for the cache as separate keys and values, as the graph has it.
    exported = config | {"multi_query": False}
    (Path(args.out_dir) / "config.json").write_text(json.dumps(exported))
    for dtype in args.dtypes:
        path = write_dtype(dtype, config, state, folder)
        if args.check:
            check(path, config, state)


if __name__ == "__main__":
    main()
