"""Checks what everything else relies on, in seconds: python self_test.py SHARD TOKENIZER"""
import json
import sys
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
import torch

import long_convolution
import text_store
from batches import shifted
from control_tokens import END, MIDDLE, PAD, PREFIX, SUFFIX
from corpus import read_shards
from examples import ENDING, GIVEN, INFILLED, TEXT, UNSCORED, ExampleSource
from healing import Vocabulary
from long_convolution import causal_convolution, transform_size
from model_folder import published_name
from muon import orthogonalise
from run_status import entries, speed
from schedule import Schedule
from sizes import SIZES, build
from spikes import SpikeGuard
from text_store import TextStore, build_store


def check_store(store: TextStore, shard: Path, tokenizer: Path) -> None:
    """All text of the shard in its order, and the same whatever the blocks, the processes and the shard's form."""
    pairs = [(path, text) for path, text in read_shards([shard]) if text]
    assert store.text.tobytes() == b"".join(text.encode() for _, text in pairs) and store.paths == [path for path, _ in pairs]
    starts = np.cumsum([0, *(len(text.encode()) for _, text in pairs)])
    assert store.pieces[store.files].tolist() == starts.tolist()
    with TemporaryDirectory() as folder:
        listed = Path(folder) / "all.json"
        listed.write_text(json.dumps(pairs))
        block, text_store.BLOCK_BYTES = text_store.BLOCK_BYTES, 5000
        twice = build_store([shard, listed], tokenizer, processes=2)
        text_store.BLOCK_BYTES = block
    for name, count in {"text": starts[-1], "ids": len(store.ids), "pieces": store.num_pieces,
                        "piece_ids": store.num_pieces, "files": len(pairs)}.items():
        one, two = getattr(store, name)[:count], getattr(twice, name)
        offset = {"pieces": starts[-1], "piece_ids": len(store.ids), "files": store.num_pieces}.get(name, 0)
        assert np.array_equal(one, two[:count]) and np.array_equal(one + offset, two[count:2 * count]), name


def check_encoding(store: TextStore, random: Random) -> None:
    """Any stretch of text has the ids that the tokenizer gives it alone."""
    for _ in range(500):
        file = random.randrange(len(store.paths))
        first, last = int(store.pieces[store.files[file]]), int(store.pieces[store.files[file + 1]])
        start, end = sorted(random.randint(first, last) for _ in range(2))
        text = store.text[start:end].tobytes()
        try:
            wanted = store.tokenizer.encode(text.decode(), add_special_tokens=False).ids
        except UnicodeDecodeError:
            continue  # Cut within a character: middles never are.
        assert store.encode(start, end).tolist() == wanted, text


def check_examples(store: TextStore, random: Random) -> None:
    """Prefix, middle and suffix are the file's, one after the other; only what follows the prefix's end counts as a middle."""
    source = ExampleSource(store, random)
    layouts = {"psm": 0, "spm": 0, "plain": 0}
    whole = store.text.tobytes()
    spelling = Vocabulary(store.tokenizer).spelling
    text = lambda ids: b"".join(spelling[token] for token in ids)  # noqa: E731
    for _ in range(400):
        ids, scores = (array.tolist() for array in source.example(256))
        assert len(ids) == len(scores) <= 256 and PAD not in ids
        # What a file is called is no part of its text.
        if MIDDLE not in ids:
            layouts["plain"] += 1
            assert not {INFILLED, ENDING} & set(scores) and not {PREFIX, SUFFIX} & set(ids)
            continue
        assert ids[0] == PREFIX and ids[-1] == END and scores[-1] == ENDING
        spm = ids[1] == SUFFIX
        layouts["spm" if spm else "psm"] += 1
        before_middle, after_middle = ids[:ids.index(MIDDLE)], ids[ids.index(MIDDLE) + 1:-1]
        suffix = before_middle[before_middle.index(SUFFIX) + 1:]
        middle = [token for token, score in zip(ids, scores) if score == INFILLED]
        prefix = after_middle[:len(after_middle) - len(middle)] if spm else before_middle[1:before_middle.index(SUFFIX)]
        if 5 in prefix:  # <filename>: its path ends with a line break
            prefix = prefix[prefix.index(5) + 1:]
            shown = text(prefix)[text(prefix).index(b"\n") + 1:] if b"\n" in text(prefix) else b""
        else:
            shown = text(prefix)
        assert shown + text(middle) + text(suffix) in whole
        assert scores[0] == UNSCORED and scores.count(ENDING) == 1
        # No end may come before a middle that follows without a sign; elsewhere a model learns where there is none.
        given = [token for token, score in zip(ids, scores) if score == GIVEN]
        assert text(given) == (shown if spm else b"")
    assert min(layouts.values()) > 20, layouts


def check_rows(store: TextStore, random: Random) -> None:
    """Where a middle ends cannot be told from the position, and rows are filled."""
    ids, scores = ExampleSource(store, random).rows(300, 256)
    ends = [row.nonzero()[0][-1] for row in scores == ENDING if row.any()]
    assert len(ends) > 200 and len(set(ends)) > 60 and max(map(ends.count, ends)) < len(ends) / 8
    assert (ids == PAD).mean() < 0.1


def check_characters(tokenizer: Path) -> None:
    """Tokens may end within a character, examples may not: no cursor stands there, whatever is backed up."""
    line = "名前 = '値' # コメント — “é” 🙂🙃 naïve = {}\n"
    with TemporaryDirectory() as folder:
        shard = Path(folder) / "all.json"
        shard.write_text(json.dumps([["a.py", "".join(line.format(i) for i in range(200))]]))
        source = ExampleSource(build_store([shard], tokenizer, processes=1), Random(4))
    for _ in range(300):
        source.rows(4, 128)


def check_speeds() -> None:
    """Of variants of which some died at once, some later, the one that ran is taken."""
    with TemporaryDirectory() as folder:
        dead, ran, died = (Path(folder) / name for name in ("dead", "ran", "died"))
        for run, lines in ((ran, '{"tokens_per_second": 5.0}\n'), (died, '{"event": "start"}\n{"tok')):
            run.mkdir()
            (run / "log.jsonl").write_text(lines)
        assert [speed(entries(run)) for run in (dead, ran, died)] == [0.0, 5.0, 0.0]


def check_shift() -> None:
    ids, scores = torch.tensor([[7, 8, 9]]), torch.tensor([[1, 1, 2]], dtype=torch.uint8)
    targets, kinds, weights = shifted(ids, scores, torch.tensor([0.0, 1.0, 4.0]))
    assert targets[:2].tolist() == [8, 9] and kinds.tolist() == [1, 2, 0] and weights.tolist() == [1, 4, 0]


def check_convolution() -> None:
    """Both ways against the sum that they stand for, with gradients against automatic ones of that sum."""
    torch.manual_seed(0)
    for length, lags in ((1, 1), (7, 3), (64, 64), (100, 37), (256, 64), (257, 257), (400, 130), (384, 129)):
        u = torch.randn(3, 2, length, dtype=torch.float64, requires_grad=True)
        taps = torch.randn(3, lags, dtype=torch.float64, requires_grad=True)
        delayed = torch.stack([torch.nn.functional.pad(u, (lag, 0))[..., :length] for lag in range(lags)])
        direct = torch.einsum("cl,lcbt->cbt", taps, delayed)
        weights = torch.randn(3, 2, length, dtype=torch.float64)
        wanted = direct, *torch.autograd.grad((direct * weights).sum(), (u, taps))
        for long_convolution.FOURIER in (True, False):
            fast = causal_convolution(u, taps)
            for a, b in zip((fast, *torch.autograd.grad((fast * weights).sum(), (u, taps))), wanted):
                assert torch.allclose(a, b, atol=1e-10), (length, lags)
            # In bf16 to what its 8 bits hold.
            rough = causal_convolution(u.bfloat16(), taps.float()).double()
            assert (rough - direct).norm() < 0.01 * direct.norm()
    assert all(points <= transform_size(points) <= 2 * points for points in range(2, 5000))


def check_loss() -> None:
    """An end that cannot come takes no share of what may."""
    torch.manual_seed(0)
    model = build(SIZES["starcoder-tiny"]).double()
    x, targets = torch.randn(6, model.size.width, dtype=torch.float64), torch.randint(1, 500, (6,))
    endless = torch.tensor([True, False] * 3)
    _, rows = model.loss(x, targets, torch.ones(6), endless)
    shares = model.logits(x).softmax(-1)
    left = torch.where(endless, 1 - shares[:, END], 1.0)
    assert torch.allclose(rows, -(shares.gather(1, targets[:, None]).squeeze(1) / left).log(), atol=1e-10)


def check_models() -> None:
    """What comes later changes nothing before it; every parameter learns; a filter's gradient is right; names are the files'."""
    for name in ("starcoder-tiny", "h3-tiny", "hyena-tiny"):
        torch.manual_seed(0)
        model = build(SIZES[name]).double()
        model.compute_type = torch.float64
        ids = torch.randint(0, 500, (2, 40))
        other = ids.clone()
        other[:, 25:] = 3
        a, b = (model(x).view(2, 40, -1)[:, :25] for x in (ids, other))
        assert torch.allclose(a, b, atol=1e-10), name
        loss, _ = model.loss(model(ids), ids.flatten(), torch.ones(80), torch.zeros(80, dtype=torch.bool))
        loss.backward()
        silent = [key for key, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
        assert not silent, silent
    assert published_name("layers.3.mixer.out.weight", "starcoder") == "transformer.h.3.attn.c_proj.weight"
    assert published_name("layers.0.mixer.long.sines.2.bias", "hyena") == "backbone.layers.0.mixer.filter_fn.implicit_filter.4.bias"


def check_muon() -> None:
    torch.manual_seed(0)
    for shape in ((3, 16, 40), (2, 40, 16)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)).float())
        assert 0.3 < values.min() and values.max() < 1.3, values


def check_guards() -> None:
    guard = SpikeGuard()
    assert not any(guard.skips(1.0) for _ in range(60))
    assert guard.skips(50.0) and guard.skips(float("nan")) and not guard.skips(1.2)
    assert not any(guard.diverged(2.0) for _ in range(60)) and any(guard.diverged(4.0) for _ in range(60))
    guard.forget()
    assert not any(guard.diverged(4.0) for _ in range(60)), "weights that were gone back to are no better than they are"
    schedule = Schedule(warmup_steps=10, decay_share=0.5)
    assert schedule.factor(0, 0.0) == 0.1 and schedule.factor(99, 0.5) == 1 and abs(schedule.factor(99, 0.75) - 0.5) < 1e-9
    assert Schedule(10, 0.0).factor(99, 1.0) == 1


def main() -> None:
    shard, tokenizer = map(Path, sys.argv[1:])
    store = build_store([shard], tokenizer, processes=1)
    check_store(store, shard, tokenizer)
    check_encoding(store, Random(1))
    check_examples(store, Random(2))
    check_rows(store, Random(3))
    check_characters(tokenizer)
    for check in (check_shift, check_speeds, check_convolution, check_loss, check_models, check_muon, check_guards):
        check()
    print("all as it should be")


if __name__ == "__main__":
    main()
