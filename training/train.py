"""Trains a model on one GPU, or on several with torchrun.

    python train.py starcoder --store STORE --held-out HELD_OUT_STORE --minutes 6 --out FOLDER
    torchrun --nproc-per-node 2 train.py starcoder ..

FOLDER gets log.jsonl, model/ (a folder that the server loads, written anew every few minutes) and state.pt (to go on from on
this machine); plateau/model and plateau/state.pt are what they were before rates fell. `--resume` takes a folder or a state, the
folder after a journey, too: optimizers then start anew and rates warm up again. SIGTERM ends a run early, and all is written.
"""
import argparse
import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

import attention
import decoder
import hyena
import long_convolution
from batches import LENGTHS, BatchPlan, start_batches, shifted
from decoder import Decoder
from examples import GIVEN, INFILLED, TEXT, Mixture
from held_out import HeldOut
from long_convolution import magnitude, roughness
from model_folder import load_model, save_model
from muon import Muon
from schedule import Schedule
from sizes import SIZES, build, count_parameters
from spikes import SpikeGuard
from text_store import load_tokenizer


def main() -> None:
    options = parse_options()
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    plan = BatchPlan(options.store, options.micro_tokens, longest(options), options.seed,
                     Mixture(infill_share=options.infill_share), options.lengths)
    # Before a GPU is touched: workers are forked.
    batches = start_batches(plan, options.workers, rank, pinned=options.device == "cuda")
    torch.manual_seed(options.seed)
    device = torch.device(options.device, int(os.environ.get("LOCAL_RANK", 0))) if options.device == "cuda" else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
    if ranks > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    model = start_model(options).to(device)
    model.compute_type = torch.bfloat16 if options.bf16 else torch.float32
    if options.compile:
        for module in (decoder, hyena):
            module.compile_functions()
    attention.COPIED = options.copied_kv
    long_convolution.FOURIER = options.fourier
    run = Run(options, model, batches, device, rank, ranks)
    try:
        run.train()
    finally:
        if ranks > 1:
            dist.destroy_process_group()
    # Workers hold on to what they have made ahead.
    os._exit(0)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", type=Path, help="a model folder, or a state.pt of this machine")
    parser.add_argument("--minutes", type=float, required=True, help="all in all: start and compilation, too")
    parser.add_argument("--steps", type=int, help="an end by steps, if that comes first")
    parser.add_argument("--decay", type=float, default=0.3, help="share of the time in which rates fall to 0 (default: 0.3)")
    parser.add_argument("--warmup", type=int, default=150, help="steps (default: 150)")
    parser.add_argument("--batch-tokens", type=int, default=262_144, help="of a step, all GPUs together")
    parser.add_argument("--micro-tokens", type=int, default=65_536, help="of a pass of one GPU")
    parser.add_argument("--rate", type=float, default=0.02, help="Muon's, of the blocks' matrices")
    parser.add_argument("--adam-rate", type=float, default=0.003, help="of everything else")
    parser.add_argument("--filter-rate", type=float,
                        help="of state-space models and filters (default: a third of --adam-rate; a Hyena diverged at 0.001)")
    parser.add_argument("--weight-decay", type=float, default=0.02, help="Muon's")
    parser.add_argument("--optimizer", choices=("muon", "adamw"), default="muon", help="adamw: for everything")
    parser.add_argument("--middle-weight", type=float, default=4.0, help="of a middle's tokens, others have 1")
    parser.add_argument("--last-middle-weight", type=float, default=8.0, help="the same while rates fall")
    parser.add_argument("--end-weight", type=float, default=1.0, help="of the end of a middle, where its other tokens have 1: with "
                        "more a model stops earlier")
    parser.add_argument("--infill-share", type=float, default=Mixture.infill_share, help="of the examples")
    parser.add_argument("--lengths", type=parse_lengths, default=LENGTHS, metavar="LENGTH:SHARE,..",
                        help="of rows, and of the tokens that rows of that length have")
    parser.add_argument("--smooth", type=float, default=0.0, help="weight of the penalty on filters' roughness (Hyena)")
    parser.add_argument("--squash", type=float, default=0.0, help="weight of the penalty on filters' magnitude (Hyena)")
    parser.add_argument("--save-minutes", type=float, default=2.0)
    parser.add_argument("--held-out-steps", type=int, default=250)
    parser.add_argument("--workers", type=int, default=min(14, (os.cpu_count() or 1) // 2), help="processes that make examples")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--copied-kv", action="store_true", help="one copy of the shared key and value for each head")
    parser.add_argument("--fourier", action="store_true", help="long convolutions by Fourier transforms in f32")
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, help="products in bf16 (default: on a GPU)")
    options = parser.parse_args()
    if options.bf16 is None:
        options.bf16 = options.device == "cuda"
    return options


def parse_lengths(text: str) -> dict[int, float]:
    return {int(length): float(share) for length, share in (part.split(":") for part in text.split(","))}


def longest(options: argparse.Namespace) -> int:
    return SIZES[options.size].positions


def start_model(options: argparse.Namespace) -> Decoder:
    if options.resume and options.resume.is_dir():
        return load_model(options.resume)
    vocabulary = load_tokenizer(options.store / "tokenizer.json").get_vocab_size()
    return build(replace(SIZES[options.size], vocabulary=vocabulary))


def make_optimizers(model: Decoder, options: argparse.Namespace) -> list[torch.optim.Optimizer]:
    """The blocks' matrices are Muon's. State-space models and filters learn at a rate of their own."""
    fused = {"fused": True} if options.device == "cuda" else {}
    matrices, tables, gentle, plain = [], [], [], []
    for name, parameter in model.named_parameters():
        if getattr(parameter, "state_space", False):
            gentle.append(parameter)
        elif name.startswith("layers.") and parameter.ndim == 2:
            matrices.append(parameter)
        else:
            (tables if parameter.ndim == 2 else plain).append(parameter)
    groups = [
        {"params": tables, "lr": options.adam_rate, "weight_decay": 0.01},
        {"params": plain, "lr": options.adam_rate},
        {"params": gentle, "lr": options.adam_rate / 3 if options.filter_rate is None else options.filter_rate},
    ]
    muon = options.optimizer == "muon"
    if not muon:
        groups.append({"params": matrices, "lr": options.adam_rate / 2, "weight_decay": 0.1})
    adam = torch.optim.AdamW([g for g in groups if g["params"]], betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0, **fused)
    return [adam, *([Muon(matrices, options.rate, weight_decay=options.weight_decay)] if muon else [])]


class Run:
    def __init__(self, options, model: Decoder, batches, device: torch.device, rank: int, ranks: int):
        self.options, self.model, self.batches, self.device, self.rank, self.ranks = options, model, batches, device, rank, ranks
        self.parameters = list(model.parameters())
        self.optimizers = make_optimizers(model, options)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["peak"] = group["lr"]
        self.schedule = Schedule(options.warmup, options.decay)
        self.guard = SpikeGuard()
        self.passes = max(1, options.batch_tokens // (options.micro_tokens * ranks))
        self.step = self.tokens = 0
        self.start = time.monotonic()
        self.rate_factor = 1.0
        if options.resume and options.resume.is_file():
            self.restore(torch.load(options.resume, map_location=device, weights_only=True))
        self.held_out = HeldOut(options.held_out, options.micro_tokens, model.size.positions, device)
        options.out.mkdir(parents=True, exist_ok=True)
        self.log_file = (options.out / "log.jsonl").open("a") if rank == 0 else None
        self.stopped = False
        self.waited = 0.0
        self.kept = self.keeping = self.weights()

    def train(self) -> None:
        options = self.options
        # Here, not before workers were forked: they are to die of it.
        signal.signal(signal.SIGTERM, self.stop)
        self.log(event="start", size=options.size, parameters=count_parameters(self.model), passes=self.passes,
                 options={name: str(value) for name, value in vars(options).items()})
        saved = last = self.start
        passed, first_step, last_tokens = 0.0, self.step, self.tokens
        self.warm_from = first_step
        on_plateau = 0 < options.decay < 1
        while passed < 1 and (options.steps is None or self.step - first_step < options.steps):
            losses = self.one_step(passed)
            now = time.monotonic()
            passed = self.agreed((now - self.start) / (60 * options.minutes) if not self.stopped else 1.0)
            if self.step % 10 == 0:
                rate = (self.tokens - last_tokens) / (now - last)
                self.log(step=self.step, tokens=self.tokens, seconds=now - self.start, tokens_per_second=rate,
                         waited=self.waited / (now - last), **losses)
                last, last_tokens, self.waited = now, self.tokens, 0.0
            if on_plateau and self.schedule.decaying(passed):
                on_plateau = False
                self.save(options.out / "plateau")
            diverged = self.guard.diverged(losses["loss"])
            if self.step % options.held_out_steps == 0:
                self.log(step=self.step, tokens=self.tokens, seconds=now - self.start, held_out=self.held_out.losses(self.model))
                if not diverged:
                    self.keep()
            if diverged:
                self.go_back()
            elif now - saved > 60 * options.save_minutes:
                saved = now
                self.save(options.out)
        self.log(step=self.step, tokens=self.tokens, seconds=time.monotonic() - self.start,
                 held_out=self.held_out.losses(self.model), event="end")
        self.save(options.out)

    def stop(self, *_) -> None:
        self.stopped = True

    def one_step(self, passed: float) -> dict[str, float]:
        options = self.options
        middle = options.last_middle_weight if self.schedule.decaying(passed) else options.middle_weight
        weights = torch.tensor([0.0, 1.0, 1.0, middle, middle * options.end_weight], device=self.device)
        sums = torch.zeros(5, device=self.device)
        for _ in range(self.passes):
            ids, scores = (tensor.to(self.device, non_blocking=True) for tensor in self.next_batch())
            targets, kinds, row_weights = shifted(ids, scores, weights)
            loss, rows = self.model.loss(self.model(ids), targets, row_weights, kinds == GIVEN)
            (self.with_penalties(loss) / self.passes).backward()
            text, infilled = (kinds == TEXT) | (kinds == GIVEN), kinds >= INFILLED
            sums += torch.stack([loss.detach(), rows @ text.float(), text.sum(), rows @ infilled.float(), infilled.sum()])
            self.tokens += ids.numel() * self.ranks
        if self.ranks > 1:
            self.average_gradients()
            dist.all_reduce(sums)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, 1.0))
        skipped = self.guard.skips(norm)
        factor = self.rate_factor * self.schedule.factor(self.step - self.warm_from, passed)
        if not skipped:
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["peak"] * factor
                optimizer.step()
        for parameter in self.parameters:
            parameter.grad = None
        self.step += 1
        loss, text, texts, infilled, infills = sums.tolist()
        return {"loss": loss / (self.passes * self.ranks), "text": text / max(1, texts), "middle": infilled / max(1, infills),
                "norm": norm, "factor": factor, "skipped": int(skipped)}

    def next_batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        start = time.monotonic()
        batch = next(self.batches)
        self.waited += time.monotonic() - start
        return batch

    def with_penalties(self, loss: torch.Tensor) -> torch.Tensor:
        options = self.options
        if options.smooth or options.squash:
            for taps in self.model.filters():
                loss = loss + options.smooth * roughness(taps) + options.squash * magnitude(taps)
        return loss

    def average_gradients(self) -> None:
        gradients = [parameter.grad for parameter in self.parameters]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.ranks
        for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients])):
            gradient.copy_(part.view_as(gradient))

    def agreed(self, value: float) -> float:
        """Rank 0's, on all: nobody may leave the loop alone."""
        if self.ranks == 1:
            return value
        shared = torch.tensor([value], device=self.device)
        dist.broadcast(shared, 0)
        return float(shared)

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: tensor.detach().cpu().clone() for name, tensor in self.model.state_dict().items()}

    def keep(self) -> None:
        """What to go back to should the loss diverge: the weights before the last kept. The last may be those that diverge, which
        a mean of many steps tells later."""
        self.kept, self.keeping = self.keeping, self.weights()

    def go_back(self) -> None:
        """To the weights last kept, at half the rate after a warm-up, with optimizers that know nothing."""
        self.model.load_state_dict(self.kept)
        self.keeping = self.kept
        for optimizer in self.optimizers:
            optimizer.state.clear()
        self.rate_factor /= 2
        self.warm_from = self.step
        self.guard.forget()
        self.log(event="back to the weights last kept", step=self.step, rate_factor=self.rate_factor)

    def save(self, out: Path) -> None:
        if self.rank != 0:
            return
        save_model(self.model, self.options.store / "tokenizer.json", out / "model")
        state = {"model": self.weights(), "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                 "step": self.step, "tokens": self.tokens, "rate_factor": self.rate_factor}
        torch.save(state, out / "state.pt.partial")
        (out / "state.pt.partial").rename(out / "state.pt")

    def restore(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])
        peaks = [[group["peak"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        for optimizer, saved, own in zip(self.optimizers, state["optimizers"], peaks):
            with suppress(ValueError):  # Of another optimizer.
                optimizer.load_state_dict(saved)
            for group, peak in zip(optimizer.param_groups, own):
                group["peak"] = peak
        self.step, self.tokens, self.rate_factor = state["step"], state["tokens"], state["rate_factor"]

    def log(self, **values) -> None:
        if self.log_file:
            line = json.dumps({name: round(value, 5) if isinstance(value, float) else value for name, value in values.items()})
            self.log_file.write(line + "\n")
            self.log_file.flush()
            print(line, flush=True)


if __name__ == "__main__":
    main()
