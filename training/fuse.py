"""Learns what topics weigh beside matches, and a first stage's score beside both, on the sources that are held out whole.

    python3 fuse.py --checkpoint /tmp/rankfleet-box.pt

Both go into the checkpoint; packages/core/src/model/fusion.ts has the formula.
"""

import argparse
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from batches import to_rows
from corpus import read_held_out, read_validation
from export import load
from model import Box
from train import QUERIES_HELD_OUT
from validation import Candidates, prepare
from vocabulary import Tokenizer

SHARES = np.arange(0, 8.1, 1)
WEIGHTS = np.arange(0, 2.01, 0.1)


def standardised(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / (values.std() + 1e-9)


@dataclass(frozen=True)
class Scored:
    """A query's candidates: logits without topics, the cosines of topics, BM25's scores, the place of the right one."""

    logits: np.ndarray
    cosines: np.ndarray
    bm25: np.ndarray
    right: int


def score(box: Box, candidates: Candidates) -> list[Scored]:
    topics, box.topics = box.topics, None
    scored = []
    with torch.no_grad():
        for pairs, bm25, right in zip(candidates.pairs, candidates.bm25, candidates.right):
            rows = to_rows(pairs, 512)
            logits = box(*rows).squeeze(1).numpy()
            cosines = topics(rows[0], *box.sides(*rows)).numpy()
            scored.append(Scored(logits, cosines, bm25, right))
    box.topics = topics
    return scored


def reciprocal_rank(scores: np.ndarray, right: int) -> float:
    return 1 / (1 + int((scores > scores[right]).sum()))


def mean_over_sources(by_source: list[list[Scored]], order: Callable[[Scored], np.ndarray]) -> float:
    return float(np.mean([np.mean([reciprocal_rank(order(one), one.right) for one in source]) for source in by_source]))


def best_share(by_source: list[list[Scored]]) -> np.ndarray:
    """What makes the logits best by themselves."""
    figures = {}
    for share in itertools.product(SHARES, SHARES):
        figures[share] = mean_over_sources(by_source, lambda one: one.logits + one.cosines @ np.array(share))
    for share, figure in sorted(figures.items(), key=lambda item: -item[1])[:5]:
        print(f"topics {share}: validation MRR {figure:.4f} (without: {figures[0, 0]:.4f})")
    return np.array(max(figures, key=figures.get))


def best_weight(by_source: list[list[Scored]], share: np.ndarray) -> float:
    """What a first stage's score is to weigh beside those logits."""
    logits = lambda one: standardised(one.logits + one.cosines @ share)
    figures = {
        weight: mean_over_sources(by_source, lambda one: logits(one) + weight * standardised(one.bm25)) for weight in WEIGHTS
    }
    for weight, figure in figures.items():
        print(f"first stage {weight:.1f}: validation MRR {figure:.4f}")
    return max(figures, key=figures.get)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--checkpoint", required=True)
    path = arguments.parse_args().checkpoint
    box, vocabulary = load(path)
    tokenizer = Tokenizer(vocabulary)
    by_source = [score(box, prepare(pairs, tokenizer)) for pairs in read_validation().values()]
    share = best_share(by_source)
    weight = best_weight(by_source, share)
    held_out = [score(box, prepare(pairs, tokenizer, QUERIES_HELD_OUT)) for pairs in read_held_out().values()]
    orders = {
        "BM25": lambda one: one.bm25,
        "alone": lambda one: one.logits + one.cosines @ share,
        "fused": lambda one: standardised(one.logits + one.cosines @ share) + weight * standardised(one.bm25),
    }
    for name, order in orders.items():
        by_name = {source: mean_over_sources([scored], order) for source, scored in zip(read_validation(), by_source)}
        print(f"{name}: {by_name}; held-out pairs of training domains {mean_over_sources(held_out, order):.4f}")
    saved = torch.load(path)
    saved["first_stage_weight"] = round(float(weight), 2)
    saved["topics"]["share"] = torch.from_numpy(share).float()
    torch.save(saved, path)


if __name__ == "__main__":
    main()
