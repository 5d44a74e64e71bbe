"""How much better than BM25 the model orders held-out pairs of the sources that it was trained on: README.md's last table.

    python3 held_out.py --checkpoint /tmp/rankfleet-box.pt

Not part of run.sh: it takes twenty minutes and decides nothing.
"""

import argparse

import numpy as np
import torch

from batches import to_rows
from bm25 import Bm25
from corpus import HELD_OUT, HELD_OUT_POOL, Pair, answers, read_pairs, training_sources, without_held_out
from export import load
from tables import MOST
from validation import DEPTH
from vocabulary import Tokenizer

OTHERS = 15
MAX_TOKENS = 512
# What is counted: the right passage among BM25's best, or among a few of them whether BM25 finds it or not.
FOUND, AMONG_FEW = "found by BM25", f"among {OTHERS} others"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--checkpoint", required=True)
    arguments.add_argument("--queries", type=int, default=50, help=f"of each source, at most {HELD_OUT}")
    options = arguments.parse_args()
    torch.set_num_threads(2)
    box, vocabulary = load(options.checkpoint)
    tokenizer = Tokenizer(vocabulary)
    ranks: dict[tuple[str, str], list[np.ndarray]] = {}
    for name in training_sources():
        for pool, pairs in pools(name):
            for count, mean in reciprocal_ranks(box, tokenizer, pairs, options.queries).items():
                ranks.setdefault((count, pool), []).append(mean)
                print(f"{name:22s} {count:18s} {pool:8s} BM25 {mean[0]:.3f} alone {mean[1]:.3f}", flush=True)
    for (count, pool), means in ranks.items():
        bm25, alone = np.mean(means, axis=0)
        own = [after / before for before, after in means]
        print(
            f"{count} {pool}: BM25 {bm25:.3f} alone {alone:.3f} ratio {alone / bm25:.2f}; "
            f"by source {min(own):.2f}, mean {np.mean(own):.2f}, {max(own):.2f}"
        )


def pools(source: str) -> list[tuple[str, list[Pair]]]:
    """Held-out pairs, and others of the source whose passages stand beside the right one."""
    pairs = read_pairs(source)
    training = without_held_out(pairs)
    read = {pair.document for pair in training[:MOST]}
    unread = [pair for pair in training[MOST:] if pair.document not in read]
    found = [(f"of {HELD_OUT_POOL}", pairs[:HELD_OUT_POOL]), ("of all", pairs)]
    # Does the reader know a wrong passage because it has met it? Here it has met none.
    return [*found, ("unread", pairs[:HELD_OUT] + unread[:HELD_OUT_POOL])] if unread else found


def reciprocal_ranks(box: torch.nn.Module, tokenizer: Tokenizer, pairs, queries: int) -> dict[str, np.ndarray]:
    """Means of BM25's and of the model's reciprocal ranks, float64 [2], by what is counted."""
    passages = list(dict.fromkeys(pair.document for pair in pairs))
    place = {passage: index for index, passage in enumerate(passages)}
    answered_by = answers(pairs, place)
    index = Bm25(passages)
    found, among_few = [], []
    for pair in pairs[:queries]:
        right = place[pair.document]
        also_right = answered_by[pair.query.lower()] - {right}
        found_by_bm25 = map(int, index.search(pair.query, DEPTH + len(also_right))[0])
        best = [passage for passage in found_by_bm25 if passage not in also_right][:DEPTH]
        candidates = best if right in best else [*best, right]
        query = np.array(tokenizer.encode(pair.query))
        rows = [(query, np.array(tokenizer.encode(passages[i][:3000]))) for i in candidates]
        with torch.no_grad():
            scores = box(*to_rows(rows, MAX_TOKENS)).squeeze(1).numpy()
        at = candidates.index(right)
        rank = lambda others: [1 / (1 + sum(other < at for other in others)), 1 / (1 + int((scores[others] > scores[at]).sum()))]
        others = [other for other in range(len(candidates)) if other != at]
        if right in best:
            found.append(rank(others))
        among_few.append(rank(others[:OTHERS]))
    return {FOUND: np.mean(found, axis=0), AMONG_FEW: np.mean(among_few, axis=0)}


if __name__ == "__main__":
    main()
