"""Learning curves of runs from their logs, against time and against tokens, as one picture; needs matplotlib.

    python plot.py RUN.. --out curves.svg [--of per_byte|text|middle] [--title TEXT]

A run is a folder with log.jsonl, or such a file; several joined by + are one curve, each going on where the last ended.
"""
import argparse
import json
from pathlib import Path

LABELS = {
    "per_byte": "held-out loss, nats a byte of text",
    "text": "held-out loss, nats a token of text",
    "middle": "held-out loss, nats a token of middles",
}
NAMES = {"starcoder": "StarCoder", "h3": "H3 hybrid", "hyena": "Hyena"}
COLOURS = ("#1b6ca8", "#c8553d", "#3c8d53", "#7a5195", "#8a6d3b")


def read_log(run: Path) -> list[dict]:
    file = run / "log.jsonl" if run.is_dir() else run
    return [json.loads(line) for line in file.read_text().splitlines()]


def curve(entries: list[dict], of: str) -> list[tuple[float, float, float]]:
    """(minutes, millions of tokens, loss) of each evaluation on held-out text. Minutes go on over resumed runs, whose own clocks
    begin at 0."""
    points, before, last = [], 0.0, 0.0
    for entry in entries:
        if entry.get("event") == "start":
            before, last = before + last, 0.0
        last = entry.get("seconds", last)
        if of in entry.get("held_out", {}):
            points.append(((before + last) / 60, entry["tokens"] / 1e6, entry["held_out"][of]))
    return points


def label(run: str, entries: list[dict], points: list) -> str:
    size = next((entry["size"] for entry in entries if "size" in entry), "")
    parameters = next((entry["parameters"] for entry in entries if "parameters" in entry), 0)
    architecture = size.removesuffix("-tiny")
    name = NAMES.get(architecture, size)
    own = "" if Path(run).name == architecture or "+" in run else f" ({Path(run).stem})"
    return f"{name}{own}, {parameters / 1e6:.1f} M parameters, {points[-1][2]:.3f} at its end"


def main() -> None:
    # Here: who reads logs alone, as card.py, needs none.
    import matplotlib
    matplotlib.use("agg")
    from matplotlib import pyplot
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--of", choices=LABELS, default="per_byte")
    parser.add_argument("--title")
    options = parser.parse_args()
    matplotlib.rcParams |= {"svg.hashsalt": "curves", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    figure, panels = pyplot.subplots(1, 2, figsize=(9, 4.4), sharey=True, layout="constrained")
    losses = []
    for run, colour in zip(options.runs, COLOURS * len(options.runs)):
        entries = [entry for part in run.split("+") for entry in read_log(Path(part))]
        points = curve(entries, options.of)
        if not points:
            print(f"{run}: no held-out loss {options.of} in its log")
            continue
        losses += [loss for _, _, loss in points]
        for axes, x in zip(panels, (0, 1)):
            axes.plot([point[x] for point in points], [point[2] for point in points], marker="o", markersize=2.5,
                      linewidth=1.4, color=colour, label=label(run, entries, points))
    if not losses:
        raise SystemExit("nothing to plot")
    panels[0].set_xlabel("minutes of training, compilation included")
    panels[1].set_xlabel("million tokens")
    panels[0].set_ylabel(LABELS[options.of])
    for axes in panels:
        axes.grid(alpha=0.25)
        axes.set_xlim(left=0)
        # The first steps' fall would leave no room for the rest.
        axes.set_ylim(min(losses) * 0.98, min(max(losses), min(losses) * 1.5) * 1.02)
    figure.legend(handles=panels[0].lines, frameon=False, loc="outside lower center", ncols=2)
    if options.title:
        figure.suptitle(options.title)
    metadata = {"Date": None} if options.out.suffix == ".svg" else {}
    figure.savefig(options.out, metadata=metadata, dpi=150)


if __name__ == "__main__":
    main()
