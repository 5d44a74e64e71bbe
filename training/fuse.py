"""Learns what a first stage's score weighs beside the model's, on the sources that are held out whole.

    python3 fuse.py --checkpoint /tmp/rankfleet-box.pt

The weight goes into the checkpoint; packages/core/src/model/fusion.ts has the formula.
"""

import argparse

import numpy as np
import torch

from batches import to_rows
from corpus import read_validation
from export import load
from validation import Candidates, prepare
from vocabulary import Tokenizer

WEIGHTS = np.arange(0, 2.01, 0.1)


def standardised(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / (values.std() + 1e-9)


def reciprocal_ranks_by_weight(model: torch.nn.Module, candidates: Candidates) -> np.ndarray:
    """Mean reciprocal rank of the fused order, for each of WEIGHTS."""
    ranks = []
    with torch.no_grad():
        for pairs, bm25, right in zip(candidates.pairs, candidates.bm25, candidates.right):
            logits = standardised(model(*to_rows(pairs, 512)).squeeze(1).numpy())
            fused = logits[None, :] + WEIGHTS[:, None] * standardised(bm25)[None, :]
            ranks.append(1 / (1 + (fused > fused[:, right : right + 1]).sum(1)))
    return np.mean(ranks, axis=0)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--checkpoint", required=True)
    path = arguments.parse_args().checkpoint
    model, vocabulary = load(path)
    tokenizer = Tokenizer(vocabulary)
    by_source = [reciprocal_ranks_by_weight(model, prepare(pairs, tokenizer)) for pairs in read_validation().values()]
    mean = np.mean(by_source, axis=0)
    for weight, figure in zip(WEIGHTS, mean):
        print(f"weight {weight:.1f}: validation MRR {figure:.4f}")
    saved = torch.load(path)
    saved["first_stage_weight"] = round(float(WEIGHTS[mean.argmax()]), 2)
    torch.save(saved, path)
    print(f"first-stage weight {saved['first_stage_weight']}")


if __name__ == "__main__":
    main()
