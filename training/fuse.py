"""Learns what topics and the reader weigh beside matches, and a first stage's score beside all, on the sources held out whole.

    python3 fuse.py --checkpoint /tmp/rankfleet-box.pt --reader /tmp/rankfleet-reader.pt

The reader goes into the checkpoint with all weights; packages/core/src/model/fusion.ts has the formula.
"""

import argparse
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from batches import to_rows
from corpus import read_held_out, read_validation
from export import load
from model import Box
from train import QUERIES_HELD_OUT, SEED
from validation import Candidates, prepare
from vocabulary import Tokenizer

TOPIC_SHARES = np.arange(0, 8.1, 1)
READER_SHARES = np.round(np.arange(0, 2.01, 0.1), 1)
# Queries of a source whose right passage is also put among so many others at random.
AT_RANDOM, OTHERS = 60, 15
WEIGHTS = np.round(np.arange(0, 2.01, 0.1), 1)


def standardised(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / (values.std() + 1e-9)


@dataclass(frozen=True)
class Scored:
    """A query's candidates: what matches say, [topics' two cosines, the reader's logit], BM25's scores, the place of the right one."""

    matches: np.ndarray
    beside: np.ndarray
    bm25: np.ndarray
    right: int

    def logits(self, share) -> np.ndarray:
        return self.matches + self.beside @ np.array(share)


def at_random(sources: list[Candidates]) -> list[Candidates]:
    """The right passage of each query, and others of any source: not all candidates are BM25's, and the reader hardly met such."""
    rng = np.random.default_rng(SEED)
    first = [(source.pairs[:AT_RANDOM], source.right[:AT_RANDOM]) for source in sources]
    pool = [document for lists, _ in first for pairs in lists for _, document in pairs]
    drawn = []
    for lists, rights in first:
        pairs = []
        for own, right in zip(lists, rights):
            others = [pool[index] for index in rng.integers(0, len(pool), OTHERS)]
            pairs.append([(own[0][0], document) for document in [own[right][1], *others]])
        drawn.append(Candidates(pairs, [np.zeros(OTHERS + 1)] * len(pairs), [0] * len(pairs)))
    return drawn


def score(box: Box, candidates: Candidates, max_tokens: int = 512) -> list[Scored]:
    scored = []
    with torch.no_grad():
        for pairs, bm25, right in zip(candidates.pairs, candidates.bm25, candidates.right):
            matches, topics, read = box.parts(*to_rows(pairs, max_tokens))
            beside = torch.cat([topics, read], dim=1).numpy()
            scored.append(Scored(matches.squeeze(1).numpy(), beside, bm25, right))
    return scored


def reciprocal_rank(scores: np.ndarray, right: int) -> float:
    return 1 / (1 + int((scores > scores[right]).sum()))


def mean_over_sources(by_source: list[list[Scored]], order: Callable[[Scored], np.ndarray]) -> float:
    return float(np.mean([np.mean(ranks) for ranks in reciprocal_ranks(by_source, order)]))


def reciprocal_ranks(by_source: list[list[Scored]], order: Callable[[Scored], np.ndarray]) -> list[np.ndarray]:
    return [np.array([reciprocal_rank(order(one), one.right) for one in source]) for source in by_source]


def middle_of_the_best(ranks: dict[tuple[float, ...], list[np.ndarray]]) -> np.ndarray:
    """The mean of all settings that cannot be told from the best one: within two standard errors of the difference.

    Where chance is kindest is often at the edge of what is as good, and so a poor guess for other text than these sources'.
    """
    figures = {setting: np.mean([source.mean() for source in sources]) for setting, sources in ranks.items()}
    best = max(figures, key=figures.get)
    for setting, figure in sorted(figures.items(), key=lambda item: -item[1])[:5]:
        print(f"{setting}: validation MRR {figure:.4f}")
    less = lambda setting: figures[best] - figures[setting]
    as_good = [each for each in ranks if less(each) <= 2 * standard_error(ranks[best], ranks[each])]
    print(f"as good as {best}: {len(as_good)} of {len(ranks)}, from {np.min(as_good, 0)} to {np.max(as_good, 0)}")
    return np.mean(as_good, 0)


def standard_error(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """Of the difference of two settings on the same queries, all sources alike."""
    variances = [(a - b).var() / len(a) for a, b in zip(one, other)]
    return float(np.sqrt(np.sum(variances)) / len(variances))


def middle_share(by_source: list[list[Scored]]) -> np.ndarray:
    """What topics and the reader are to weigh beside matches: what makes the logits good by themselves."""
    settings = itertools.product(TOPIC_SHARES, TOPIC_SHARES, READER_SHARES)
    return middle_of_the_best(
        {share: reciprocal_ranks(by_source, lambda one: one.logits(share)) for share in settings}
    )


def middle_weight(by_source: list[list[Scored]], share: np.ndarray) -> float:
    """What a first stage's score is to weigh beside those logits."""
    fused = lambda one, weight: standardised(one.logits(share)) + weight * standardised(one.bm25)
    ranks = {(weight,): reciprocal_ranks(by_source, lambda one: fused(one, weight)) for weight in WEIGHTS}
    return float(middle_of_the_best(ranks)[0])


def readable_scale(by_source: list[list[Scored]], share: np.ndarray) -> tuple[float, float]:
    """Factor and addend by which the sigmoid says best which passage is right, right and wrong ones weighing the same.

    Logistic regression on one number (Platt 1999). It changes no order.
    """
    logits, right, weight = [], [], []
    for source in by_source:
        for one in source:
            is_right = np.arange(len(one.matches)) == one.right
            logits.append(one.logits(share))
            right.append(is_right.astype(float))
            weight.append(np.where(is_right, 1, 1 / max(1, len(is_right) - 1)) / len(source))
    logits, right, weight = (torch.from_numpy(np.concatenate(part)).double() for part in (logits, right, weight))
    scale = torch.tensor([1.0, 0.0], dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([scale], max_iter=100)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.binary_cross_entropy_with_logits(logits * scale[0] + scale[1], right, weight=weight / weight.mean())
        value.backward()
        return value

    optimizer.step(loss)
    factor, addend = scale.tolist()
    return round(factor, 4), round(addend, 4)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--checkpoint", required=True)
    arguments.add_argument("--reader", required=True, help="what train_reader.py wrote")
    options = arguments.parse_args()
    saved = torch.load(options.checkpoint)
    state = torch.load(options.reader)["state"]
    saved["reader"] = {name: value.float() for name, value in state.items()} | {"share": torch.tensor(0.0)}
    torch.save(saved, options.checkpoint)
    box, vocabulary = load(options.checkpoint)
    tokenizer = Tokenizer(vocabulary)
    candidates = [prepare(pairs, tokenizer) for pairs in read_validation().values()]
    by_source = [score(box, each) for each in candidates]
    share = middle_share(by_source + [score(box, each, 256) for each in at_random(candidates)])
    weight = middle_weight(by_source, share)
    print(f"topics {share[:2]}, reader {share[2]:.2f}, first stage {weight:.2f}")
    held_out = [score(box, prepare(pairs, tokenizer, QUERIES_HELD_OUT)) for pairs in read_held_out().values()]
    orders = {
        "BM25": lambda one: one.bm25,
        "matches alone": lambda one: one.matches,
        "the reader alone": lambda one: one.beside[:, 2],
        "alone": lambda one: one.logits(share),
        "fused": lambda one: standardised(one.logits(share)) + weight * standardised(one.bm25),
    }
    for name, order in orders.items():
        by_name = {source: round(mean_over_sources([scored], order), 3) for source, scored in zip(read_validation(), by_source)}
        mean = mean_over_sources(by_source, order)
        print(f"{name}: {by_name}, mean {mean:.4f}; held-out pairs of training domains {mean_over_sources(held_out, order):.4f}")
    saved["scale"] = readable_scale(by_source, share)
    print(f"logits × {saved['scale'][0]} + {saved['scale'][1]}")
    saved["first_stage_weight"] = round(weight, 2)
    saved["topics"]["share"] = torch.from_numpy(share[:2]).float()
    saved["reader"]["share"] = torch.tensor(float(share[2]))
    torch.save(saved, options.checkpoint)


if __name__ == "__main__":
    main()
