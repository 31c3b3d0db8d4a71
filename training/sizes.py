"""The models that are trained: about 30 million parameters each, of which int8 forms stay below 35 MB, and tiny ones."""
from decoder import Decoder, Size
from h3 import h3
from hyena import hyena
from starcoder import starcoder

ARCHITECTURES = {"starcoder": starcoder, "h3": h3, "hyena": hyena}

SIZES = {
    "starcoder": Size("starcoder", layers=10),
    # Attention in the second layer and half the depth later, as the paper has it.
    "h3": Size("h3", layers=8, attention_layers=(1, 5)),
    "hyena": Size("hyena", layers=8),
    "starcoder-tiny": Size("starcoder", positions=256, width=64, layers=2, inner=128, heads=2),
    "h3-tiny": Size("h3", positions=256, width=64, layers=2, inner=128, heads=2, attention_layers=(1,)),
    "hyena-tiny": Size("hyena", positions=256, width=64, layers=2, inner=128),
}


def build(size: Size) -> Decoder:
    return ARCHITECTURES[size.architecture](size)


def count_parameters(model: Decoder) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
