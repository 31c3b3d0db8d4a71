"""What PyTorch computes for a model folder in float64, for the server's tests of parity (tests/models/parity_cases.ts):

    python reference_logits.py MODEL FOLDER [--text FILE]

    expected.json         prompts, how many rows of logits each has kept, greedy tokens after the second prompt
    expected.safetensors  logits.I, F64 [rows, vocabulary]: the last rows of prompt I
"""
import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from control_tokens import CONTROL_TOKENS, END
from decoder import Decoder
from model_folder import load_model
from text_store import load_tokenizer

PROMPT_LENGTHS, GREEDY_PROMPT, NEW_TOKENS, KEPT_ROWS = (1, 17, 100), 1, 64, 2


def logits_of(model: Decoder, ids: list[int]) -> torch.Tensor:
    """[tokens, vocabulary]"""
    return model.logits(model(torch.tensor([ids])))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--text", type=Path, default=Path(__file__).with_name("generate.py"), help="that prompts begin")
    options = parser.parse_args()
    model = load_model(options.model).double()
    model.compute_type = torch.float64
    ids = load_tokenizer(options.model / "tokenizer.json").encode(options.text.read_text()).ids
    prompts = [ids[:length] for length in PROMPT_LENGTHS]
    logits = {f"logits.{i}": logits_of(model, prompt)[-KEPT_ROWS:].contiguous() for i, prompt in enumerate(prompts)}
    greedy = continue_greedily(model, prompts[GREEDY_PROMPT])
    record = {
        "prompts": prompts, "rows": [min(KEPT_ROWS, len(prompt)) for prompt in prompts], "greedyPrompt": GREEDY_PROMPT,
        "greedy": greedy, "distinct": len(set(greedy)), "numTokens": model.size.vocabulary,
    }
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "expected.json").write_text(json.dumps(record) + "\n")
    save_file(logits, options.folder / "expected.safetensors")


def continue_greedily(model: Decoder, prompt: list[int]) -> list[int]:
    """Control tokens are out of reach, as they are when the model is served; the end of the text is not."""
    ids = list(prompt)
    for _ in range(NEW_TOKENS):
        last = logits_of(model, ids)[-1]
        last[END + 1:len(CONTROL_TOKENS)] = -torch.inf
        ids.append(int(last.argmax()))
    return ids[len(prompt):]


if __name__ == "__main__":
    main()
