"""Writes a model folder's card, README.md, from what was measured; nothing in it is written by hand.

    python card.py ../weights/NAME --runs RUN.. [--evaluation FOLDER] [--beside RUN..] [--quantised FOLDER] [--served TEXT]
        [--curves curves.svg] [--limits TEXT]

RUN is a run's folder, or its log, in the order in which each went on from the last; those --beside are others to compare with,
of other architectures or rates, each from scratch; --evaluation has evaluate.py's
figures.json and completions.md of the weights as they were trained, --quantised the same of the folder itself; --served is the
table that bench/infill_accuracy.ts printed. The curves are copied into the folder.
"""
import argparse
import json
import shutil
from collections import Counter
from pathlib import Path

from model_folder import load_model
from plot import NAMES, read_log
from sizes import count_parameters

MANIFEST = Path(__file__).with_name("manifest.jsonl")
PAPERS = {
    "starcoder": "GPTBigCode, StarCoder's architecture: attention whose heads share one of keys and values, learned positions",
    "h3": "H3, a hybrid of layers that mix by state-space models and of two that attend",
    "hyena": "Hyena of order 2: long convolutions between gates, without attention",
}
# The first of these words in what a package says of its licence.
LICENCES = ("Apache", "MIT", "BSD", "PSF", "ISC", "Unlicense", "Zlib", "HPND", "CC0")
KINDS = {"line": "rest of a line", "lines": "three to five lines", "word": "rest of a word"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=Path, nargs="+", required=True)
    parser.add_argument("--beside", type=Path, nargs="+", default=[])
    parser.add_argument("--evaluation", type=Path)
    parser.add_argument("--quantised", type=Path)
    parser.add_argument("--served", type=Path)
    parser.add_argument("--curves", type=Path)
    parser.add_argument("--limits", type=Path, help="Markdown, in place of what holds for all models of this size")
    options = parser.parse_args()
    config = json.loads((options.folder / "config.json").read_text())
    model = load_model(options.folder)
    figures = json.loads((options.evaluation / "figures.json").read_text()) if options.evaluation else {}
    parts = [
        head(options.folder.name, config),
        model_section(model, config, options.folder),
        data_section(),
        training_section([read_log(run) for run in options.runs], [read_log(run) for run in options.beside], options),
        quality_section(figures, options),
        "## Limits\n\n" + (options.limits.read_text().strip() if options.limits else limits(figures)),
        *([completions_section(options.evaluation / "completions.md")] if options.evaluation else []),
    ]
    if options.curves:
        shutil.copyfile(options.curves, options.folder / "curves.svg")
    (options.folder / "README.md").write_text("\n\n".join(parts) + "\n")


def head(name: str, config: dict) -> str:
    tags = ", ".join(["code", "fill-in-the-middle", config["model_type"], *(["int8"] if "quantization_config" in config else [])])
    return f"---\nlicense: apache-2.0\npipeline_tag: text-generation\ntags: [{tags}]\n---\n\n# {name}"


def model_section(model, config: dict, folder: Path) -> str:
    size = model.size
    weights = (folder / "model.safetensors").stat().st_size
    return (
        f"## Model\n\n{PAPERS[size.architecture]}. {count_parameters(model):,} parameters: {size.layers} layers, {size.width} wide, "
        f"MLP of {size.inner}, {size.positions} positions, head tied to the embedding; trained from scratch for this project. "
        f"Byte-level BPE of {size.vocabulary:,} tokens, digits one by one, StarCoder's control tokens first. "
        f"{weights / 1e6:.1f} MB of weights{', int8 with an f32 scale a row' if 'quantization_config' in config else ''}.\n\n"
        "| prompt | ids |\n| --- | --- |\n| prefix, suffix, middle (PSM) | `[1]` prefix `[3]` suffix `[2]` |\n"
        "| suffix, prefix, middle (SPM) | `[1, 3]` suffix `[2]` prefix |\n\n"
        "Prefix and suffix are tokenised apart; `<|endoftext|>`, 0, ends the middle."
    )


def data_section() -> str:
    packages = [json.loads(line) for line in MANIFEST.read_text().splitlines()]
    trained_on = [package for package in packages if not package.get("held_out")]
    held_out = [package["name"] for package in packages if package.get("held_out")]
    found = Counter(licence(package.get("licence", "")) for package in trained_on)
    shares = ", ".join(f"{name} {count}" for name, count in found.most_common())
    return (
        f"## Data\n\nPython from {len(trained_on)} packages with permissive licences, by what they say themselves ({shares}), and "
        "14 MB of JavaScript and TypeScript, some 432 MB in all: without generated and vendored files, copies, files that repeat "
        "others, and three quarters of the tests. `training/manifest.jsonl` has names, versions and licences. "
        f"Held out whole: {', '.join(held_out)}."
    )


def licence(text: str) -> str:
    text = text.replace("Python Software Foundation", "PSF")
    return next((name for name in LICENCES if name.lower() in text.lower()), "others")


def training_section(logs: list[list[dict]], beside: list[list[dict]], given: argparse.Namespace) -> str:
    """Each run with what it did otherwise than others; the last is how examples are drawn today."""
    in_all, counted_before, rows = 0, 0, []
    for log in logs:
        start = next(entry for entry in log if entry.get("event") == "start")
        options, last = start["options"], log[-1]
        # A run that went on from a state counts on from the last; one that went on from a folder begins at 0.
        first = next(entry["tokens"] for entry in log if "tokens" in entry)
        tokens = last["tokens"] - (counted_before if first > counted_before else 0)
        in_all, counted_before = in_all + tokens, last["tokens"]
        held_out = last.get("held_out") or next((e["held_out"] for e in reversed(log) if "held_out" in e), {})
        losses = f"{held_out['text']:.3f} and {held_out['middle']:.3f}" if held_out else ""
        rows.append(f"| {last['seconds'] / 60:.1f} on {'a GPU' if options['device'] == 'cuda' else 'a CPU'} | {millions(tokens)} "
                    f"| {millions(in_all)} | {int(options['batch_tokens']):,} | {rates(options)} | {float(options['decay']):.0%} "
                    f"| {losses} |")
    options = next(entry for entry in logs[-1] if entry.get("event") == "start")["options"]
    text = (
        f"## Training\n\n`training/train.py`, {'bf16' if options['bf16'] == 'True' else 'f32'}; "
        f"{float(options['infill_share']):.0%} of the examples with a middle to fill in (in the last run), PSM and SPM half and half.\n\n"
        "| minutes | tokens | in all | a step | peak rates | of the time rates fall | held-out nats a token, text and middles |\n"
        "| ---: | ---: | ---: | ---: | --- | ---: | --- |\n" + "\n".join(rows)
    )
    if given.evaluation:
        text += (
            "\n\nHeld-out losses here are of examples such as training has, most of them short; those below, under Figures, of whole "
            "files, where more stands before a token."
        )
    if beside:
        text += (
            "\n\nBeside others that began from scratch, on the same data and the same kind of machine, rates rising, level and falling "
            "in the same shares of their time:\n\n"
            "| run | minutes | tokens | peak rates | held-out nats a byte of text |\n| --- | ---: | ---: | --- | ---: |\n"
            + "\n".join(compared(log, log is logs[0]) for log in [logs[0], *beside])
        )
    return text + ("\n\n![Held-out loss against time and tokens](curves.svg)" if given.curves else "")


def compared(log: list[dict], is_this: bool) -> str:
    start = next(entry for entry in log if entry.get("event") == "start")
    backs = sum(entry.get("event", "").startswith("back to") for entry in log)
    held_out = next(entry["held_out"] for entry in reversed(log) if "held_out" in entry)
    diverged = f"; diverged {backs} time{'s' if backs > 1 else ''}" if backs else ""
    return (
        f"| {NAMES[start['size']]}{', this model' if is_this else ''}{diverged} "
        f"| {log[-1]['seconds'] / 60:.1f} | {millions(log[-1]['tokens'])} | {rates(start['options'])} "
        f"| {held_out['per_byte']:.3f} |"
    )


def millions(tokens: int) -> str:
    return f"{tokens / 1e6:,.0f} M" if tokens >= 1e8 else f"{tokens / 1e6:.1f} M"


def rates(options: dict) -> str:
    if options["optimizer"] == "adamw":
        return f"AdamW {options['adam_rate']}, of matrices {float(options['adam_rate']) / 2:g}"
    filters = options.get("filter_rate", "None")
    gentle = "a third of it" if filters == "None" else filters
    apart = "" if options["size"] == "starcoder" else f" ({gentle} for filters and state-space models)"
    return f"Muon {options['rate']} for matrices, AdamW {options['adam_rate']} for all else{apart}"


def quality_section(figures: dict, options: argparse.Namespace) -> str:
    served = "Through the server, `bench/infill_accuracy.ts`:\n\n" + options.served.read_text().strip() if options.served else ""
    if not figures:
        return f"## Figures\n\n{served}"
    quantised = json.loads((options.quantised / "figures.json").read_text()) if options.quantised else None
    loss = figures["loss"]
    text = (
        f"## Figures\n\n`training/evaluate.py`, packages that were held out, of the weights as they were trained"
        f"{', f16' if options.quantised else ''}: {loss['nats_per_byte']:.4f} nats a byte from left to right "
        f"({loss['nats_per_token']:.3f} a token of {loss['bytes_per_token']:.2f} bytes)"
    )
    if quantised:
        text += f"; in int8 {quantised['loss']['nats_per_byte']:.4f}"
    text += f". {counted(figures)}exact matches, edit similarity, and how often it stops by itself:"
    for kind, name in KINDS.items():
        if kind not in figures:
            continue
        text += f"\n\n| {name} | exact | similar | stops |" + (" int8: exact | stops |" if quantised and kind in quantised else "")
        text += "\n| --- | ---: | ---: | ---: |" + (" ---: | ---: |" if quantised and kind in quantised else "")
        for form, values in figures[kind].items():
            text += f"\n| {form_name(form)} | {values['exact']:.1%} | {values['similarity']:.2f} | {values['stopped']:.1%} |"
            if quantised and form in quantised.get(kind, {}):
                text += f" {quantised[kind][form]['exact']:.1%} | {quantised[kind][form]['stopped']:.1%} |"
    if "memory" in figures:
        memory = figures["memory"]
        text += (f"\n\nOf {memory['samples']} places in the text it was trained on, after 200 tokens, it gives the next 50 back "
                 f"exactly in {memory['all_50_tokens']:.1%}, and {memory['mean_tokens']:.1f} of them on average.")
    return f"{text}\n\n{served}" if served else text


def counted(figures: dict) -> str:
    """How much was measured, where the figures say so."""
    holes = figures.get("options", {}).get("holes")
    others = " (half as many of other kinds)" if any(kind in figures for kind in KINDS if kind != "line") else ""
    return f"{holes} places{others}, greedy; " if holes else "Greedy; "


def form_name(form: str) -> str:
    layout, _, healed = form.partition(", ")
    return {"psm": "PSM", "spm": "SPM", "prefix": "prefix alone"}[layout] + (", healed" if healed else "")


def limits(figures: dict) -> str:
    best = max((values["exact"] for values in figures.get("line", {}).values()), default=None)
    guessed = "" if best is None else f": at best {best:.1%} of single lines"
    several = [values["exact"] for values in figures.get("lines", {}).values()]
    return (
        f"- A small model{guessed}{f' and {max(several):.1%} of several lines' if several else ''}{' are guessed exactly' if guessed else ''}"
        "; longer completions drift, repeat, or invent names.\n"
        "- Mainly Python.\n"
        "- Prompts that end within a word do worse unless they are healed, as the server does by default.\n"
        "- It may repeat what it was trained on: review what it writes as you would a stranger's patch."
    )


def completions_section(file: Path) -> str:
    return "## Completions\n\nThe first of the places above, not selected (SPM, healed; ⏎ is a line break):\n\n" + file.read_text().strip()


if __name__ == "__main__":
    main()
