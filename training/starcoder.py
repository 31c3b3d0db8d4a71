"""StarCoder's architecture, GPTBigCode: multi-query attention and learned positions. Li et al., "StarCoder: may the source be
with you!" (2023), section 5."""
from attention import Attention
from decoder import Decoder, Size


def starcoder(size: Size) -> Decoder:
    return Decoder(size, [Attention(size, kv_heads=1) for _ in range(size.layers)], has_positions=True)
