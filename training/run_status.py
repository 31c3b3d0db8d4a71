"""Where runs stand, a line each: python run_status.py WORK; or how fast they were, the fastest first: --speed RUN.."""
import json
import sys
from pathlib import Path
from statistics import median

# Last entries of a log, of ten steps each, that a speed is the median of: what comes before was compiled meanwhile.
LAST = 3


def entries(run: Path) -> list[dict]:
    """None of a run that died before it could write any."""
    log = run / "log.jsonl"
    return [] if not log.exists() else [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]


def speed(log: list[dict]) -> float:
    """Tokens a second; 0 of a run that got nowhere."""
    rates = [entry["tokens_per_second"] for entry in log if "tokens_per_second" in entry]
    return median(rates[-LAST:]) if rates else 0.0


def line(run: Path) -> str:
    log = entries(run)
    step = next((entry for entry in reversed(log) if "loss" in entry), {})
    held_out = next((entry["held_out"] for entry in reversed(log) if "held_out" in entry), {})
    ended = " ended" if log and log[-1].get("event") == "end" else ""
    return (f"{run.name:18} {step.get('seconds', 0) / 60:5.1f} min {step.get('tokens', 0) / 1e6:7.1f} M tokens {speed(log) / 1e3:6.0f} K/s "
            f"waited {step.get('waited', 0):4.0%} loss {step.get('loss', float('nan')):.3f} held out {held_out}{ended}")


def main() -> None:
    if sys.argv[1] == "--speed":
        for run in sorted(map(Path, sys.argv[2:]), key=lambda run: -speed(entries(run))):
            print(f"{run}\t{speed(entries(run)):.0f}")
        return
    for log in sorted(Path(sys.argv[1]).glob("*/log.jsonl"), key=lambda path: path.stat().st_mtime):
        print(line(log.parent))


if __name__ == "__main__":
    main()
