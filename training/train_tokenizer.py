"""Trains a byte-level BPE tokenizer with StarCoder's control tokens, and says how many characters a token holds.

    python train_tokenizer.py CORPUS.. --vocabulary 16384 --out tokenizer.json --held-out validation.jsonl.xz
"""
import argparse
import random
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from control_tokens import CONTROL_TOKENS
from corpus import read_shards

# As GPT-2's words, but every digit alone, and one sign may lead a word: ".items", "(self", "_name". Seven per cent fewer
# tokens for code than with GPT-2's own.
WORDS = Regex(r" ?\p{L}+|[^\s\p{L}\p{N}]\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


def new_tokenizer() -> Tokenizer:
    """Nothing of a text is lost, nothing is added."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(WORDS, "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def train(texts: list[str], vocabulary: int) -> Tokenizer:
    tokenizer = new_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=CONTROL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def characters_per_token(tokenizer: Tokenizer, texts: list[str]) -> float:
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return sum(map(len, texts)) / sum(len(encoding) for encoding in encodings)


def sample(paths: list[Path], characters: int, seed: int) -> list[str]:
    """Whole files in random order, up to about so many characters."""
    texts = [text for _, text in read_shards(paths)]
    random.Random(seed).shuffle(texts)
    total = 0
    for count, text in enumerate(texts):
        if total >= characters:
            return texts[:count]
        total += len(text)
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="+", type=Path)
    parser.add_argument("--vocabulary", type=int, default=16_384)
    parser.add_argument("--characters", type=int, default=200_000_000, help="of the sample that it is trained on")
    parser.add_argument("--held-out", type=Path, help="a shard on which characters per token are counted")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    tokenizer = train(sample(options.corpus, options.characters, options.seed), options.vocabulary)
    tokenizer.save(str(options.out))
    print(f"{options.out}: {tokenizer.get_vocab_size()} tokens")
    if options.held_out:
        texts = [text for _, text in read_shards([options.held_out])]
        print(f"{options.held_out}: {characters_per_token(tokenizer, texts):.3f} characters a token")


if __name__ == "__main__":
    main()
