"""Training groups: a query, its passage, and passages that BM25 confuses with it."""

import random

import numpy as np

from bm25 import Bm25
from corpus import Pair

HARD = 6
DEPTH = 40


def make_groups(pairs: list[Pair], extra: list[Pair], seed: int) -> tuple[list[str], list[str], np.ndarray]:
    """Queries, passages, and per query the places of its passage and of HARD + 1 others.

    Hard negatives are drawn from BM25's best 40 of the same source, so the model learns to tell apart
    what a first stage puts side by side; one more is drawn at random.
    """
    rng = random.Random(seed)
    place: dict[str, int] = {}
    for pair in pairs:
        place.setdefault(pair.document, len(place))
    passages = list(place)
    index = Bm25([passage[:1500] for passage in passages])
    queries, groups = [], []
    for pair in pairs + extra:
        positive = place.get(pair.document)
        documents = [pair.document] if positive is None else []
        found, _ = index.search(pair.query, DEPTH)
        source = positive
        if source is None:  # Inverse cloze: the passage that the span was cut from must not count as wrong.
            passages.append(pair.document)
            source = len(passages) - 1
            found = found[1:]
        hard = [int(i) for i in found if i != positive]
        hard = rng.sample(hard, min(HARD, len(hard)))
        while len(hard) < HARD + 1:
            hard.append(rng.randrange(index.size))
        queries.append(pair.query)
        groups.append([source, *hard])
    return queries, passages, np.array(groups, np.int32)
