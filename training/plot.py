"""Learning curves of runs, from their logs, as one SVG; needs matplotlib.

    python plot.py RUN.. --out curves.svg [--against tokens|minutes] [--of middle|text]
"""
import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402


def read_log(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def curve(entries: list[dict], against: str, of: str) -> tuple[list[float], list[float]]:
    """Held-out losses. Minutes go on over resumed runs, whose own clocks begin at 0."""
    xs, ys, before, last = [], [], 0.0, 0.0
    for entry in entries:
        if entry.get("event") == "start":
            before, last = before + last, 0.0
        last = entry.get("seconds", last)
        if "held_out" in entry:
            xs.append((before + last) / 60 if against == "minutes" else entry["tokens"] / 1e6)
            ys.append(entry["held_out"][of])
    return xs, ys


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--against", choices=("tokens", "minutes"), default="minutes")
    parser.add_argument("--of", choices=("middle", "text"), default="middle")
    options = parser.parse_args()
    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for run in options.runs:
        axes.plot(*curve(read_log(run), options.against, options.of), marker=".", label=run.name)
    axes.set_xlabel("minutes on one GPU" if options.against == "minutes" else "million tokens")
    axes.set_ylabel(f"held-out loss of {'middles' if options.of == 'middle' else 'text'}, nats a token")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(options.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
