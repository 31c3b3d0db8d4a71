"""Measures a model folder on held-out text, and how much of its training text it gives back.

    python evaluate.py MODEL --held-out validation.jsonl.xz [--trained-on STORE] [--out FOLDER]

FOLDER gets figures.json and completions.md, the first twenty holes with what the model filled in.
"""
import argparse
import json
import math
from difflib import SequenceMatcher
from pathlib import Path
from random import Random

import torch

from control_tokens import END
from corpus import read_shards
from generate import Completer, Row
from holes import KINDS, Hole, dig
from model_folder import load_model
from text_store import load_store, load_tokenizer

# Tokens drawn at most, by kind of hole.
MOST = {"line": 48, "lines": 128, "word": 24}
MEMORY_PROMPT, MEMORY_TOKENS = 200, 50
# More than so many tokens have.
MEMORY_BYTES = 4000
SHOWN = 20
FORMS = ("psm", "spm", "prefix")
NEWLINE = "\n"


def main() -> None:
    options = parse_options()
    device = torch.device(options.device)
    model = load_model(options.model).to(device).eval()
    model.compute_type = torch.bfloat16 if options.bf16 else torch.float32
    tokenizer = load_tokenizer(options.model / "tokenizer.json")
    texts = [text for _, text in read_shards([options.held_out])]
    completer = Completer(model, tokenizer, options.batch)
    measured = {name: getattr(options, name) for name in ("holes", "loss_files", "seed", "bf16")}
    figures = {"options": measured, "loss": held_out_loss(completer, texts[:options.loss_files])}
    report(figures)
    out = options.out or options.model
    out.mkdir(parents=True, exist_ok=True)
    for kind in options.kinds.split(","):
        # Those that are longer to fill in are fewer.
        holes = dig(texts, kind, options.holes if kind == "line" else options.holes // 2, options.seed)
        figures[kind] = infilling(completer, holes, options.forms, out if kind == "line" else None)
        report({kind: figures[kind]})
        (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    if options.trained_on:
        figures["memory"] = memorised(completer, options.trained_on, options.memory_samples)
        report({"memory": figures["memory"]})
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--held-out", type=Path, required=True, help="a shard")
    parser.add_argument("--trained-on", type=Path, help="a store")
    parser.add_argument("--holes", type=int, default=400, help="of single lines; half as many of the other kinds")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--forms", type=parse_forms, default=FORMS,
                        help=f"of {','.join(FORMS)}: what is shown of a place (default: all); prefix is the slowest: it seldom stops")
    parser.add_argument("--loss-files", type=int, default=200)
    parser.add_argument("--memory-samples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--out", type=Path, help="default: the model's folder")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, help="products in bf16 (default: on a GPU)")
    options = parser.parse_args()
    if options.bf16 is None:
        options.bf16 = options.device == "cuda"
    return options


def parse_forms(text: str) -> tuple[str, ...]:
    forms = tuple(text.split(","))
    if unknown := set(forms) - set(FORMS):
        raise argparse.ArgumentTypeError(f"must be of {', '.join(FORMS)}, received {', '.join(sorted(unknown))}")
    return forms


@torch.no_grad()
def held_out_loss(completer: Completer, texts: list[str]) -> dict[str, float]:
    """From left to right, files in windows of the whole context; nats a token and bits a byte, which vocabularies share."""
    model = completer.model
    nats = tokens = size = 0
    for text in texts:
        # The end of the text stands before it, too: the first token is predicted from something.
        ids = [END, *completer.encode(text)]
        size += len(text.encode())
        for start in range(0, len(ids) - 1, model.size.positions - 1):
            window = torch.tensor([ids[start:start + model.size.positions]], device=completer.device)
            logits = model.logits(model(window[:, :-1])).float()
            nats += float(torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="sum"))
            tokens += window.shape[1] - 1
    return {"nats_per_token": nats / tokens, "nats_per_byte": nats / size, "bits_per_byte": nats / size / math.log(2),
            "bytes_per_token": size / tokens}


def infilling(completer: Completer, holes: list[Hole], forms: tuple[str, ...], shown_in: Path | None) -> dict[str, dict[str, float]]:
    figures = {}
    pairs = [(hole.prefix, hole.suffix) for hole in holes]
    for form in forms:
        for healed in (False, True):
            most = MOST[holes[0].kind]
            completions = (
                completer.go_on([prefix for prefix, _ in pairs], most, healed) if form == "prefix"
                else completer.infill(pairs, form, most, healed)
            )
            # A single line ends with its line, as editors cut it, whatever follows; stopping is counted without that.
            first_line = holes[0].kind == "line"
            texts = [c.text.split("\n")[0].rstrip() if first_line else c.text.rstrip() for c in completions]
            figures[f"{form}, healed" if healed else form] = {
                "exact": share(text == hole.middle for text, hole in zip(texts, holes)),
                "exact_to_the_end": share(c.text.rstrip() == hole.middle for c, hole in zip(completions, holes)),
                "similarity": sum(similarity(t, hole.middle) for t, hole in zip(texts, holes)) / len(holes),
                "stopped": share(c.ended for c in completions),
            }
            if shown_in and form == "spm" and healed:
                show(holes, completions, shown_in / "completions.md")
    return figures


def similarity(a: str, b: str) -> float:
    """1 for equal texts, 0 for texts with nothing in common."""
    return SequenceMatcher(None, a, b, autojunk=False).ratio()


def share(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def memorised(completer: Completer, store_folder: Path, count: int) -> dict[str, float]:
    """How often 50 tokens that follow 200 of training text come back exactly, and how many of them do from the first on."""
    store = load_store(store_folder)
    random = Random(0)
    rows, wanted = [], []
    while len(rows) < count:
        piece = random.randrange(store.num_pieces)
        last = int(store.files[store.file_of(piece) + 1])
        # As text: the store's tokens may be another tokenizer's.
        text = store.text[int(store.pieces[piece]):int(store.pieces[last])][:MEMORY_BYTES].tobytes().decode(errors="ignore")
        ids = completer.encode(text)[:MEMORY_PROMPT + MEMORY_TOKENS]
        if len(ids) == MEMORY_PROMPT + MEMORY_TOKENS:
            rows.append(Row(ids[:MEMORY_PROMPT])), wanted.append(ids[MEMORY_PROMPT:])
    completer.complete(rows, MEMORY_TOKENS)
    common = [next((i for i, (a, b) in enumerate(zip(row.drawn, ids)) if a != b), min(len(row.drawn), len(ids)))
              for row, ids in zip(rows, wanted)]
    return {"samples": count, "all_50_tokens": share(n == MEMORY_TOKENS for n in common), "mean_tokens": sum(common) / count}


def show(holes: list[Hole], completions: list, path: Path) -> None:
    parts = []
    for number, (hole, completion) in enumerate(list(zip(holes, completions))[:SHOWN], 1):
        parts.append(f"{number}. {code(hole.prefix.split(NEWLINE)[-1])} **▸**\n   - wanted {code(hole.middle)}\n"
                     f"   - filled in {code(completion.text)}{'' if completion.ended else ' (did not stop)'}\n")
    path.write_text("\n".join(parts))


def code(text: str) -> str:
    """As one line of Markdown."""
    text = text.replace(NEWLINE, "⏎").replace("\t", "⇥")
    if not text:
        return "nothing"
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def report(figures: dict) -> None:
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
