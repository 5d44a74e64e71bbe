"""Training groups: a query, its passage, and passages that BM25 confuses with it."""

import random

import numpy as np

from bm25 import Bm25
from corpus import Pair, answers

HARD = 6
DEPTH = 40


def make_groups(pairs: list[Pair], extra: list[Pair], seed: int, hard: int = HARD) -> tuple[list[str], list[str], np.ndarray]:
    """Queries, passages, and per query the places of its passage and of `hard` + 1 others.

    Hard negatives are drawn from BM25's best 40 of the same source, so the model learns to tell apart
    what a first stage puts side by side; one more is drawn at random. What answers the query too is none.
    """
    rng = random.Random(seed)
    place: dict[str, int] = {}
    for pair in pairs:
        place.setdefault(pair.document, len(place))
    passages = list(place)
    index = Bm25([passage[:1500] for passage in passages])
    answered_by = answers(pairs, place)
    queries, groups = [], []
    for pair in pairs + extra:
        if pair.origin is None:
            positive, right = place[pair.document], answered_by[pair.query.lower()]
        else:  # Inverse cloze: the passage that the span was cut from has all of it.
            passages.append(pair.document)
            positive, right = len(passages) - 1, {place[pair.origin]}
        found, _ = index.search(pair.query, DEPTH)
        wrong = [int(i) for i in found if int(i) not in right]
        chosen = rng.sample(wrong, min(hard, len(wrong)))
        while len(chosen) < hard + 1:
            other = rng.randrange(index.size)
            if other not in right:
                chosen.append(other)
        queries.append(pair.query)
        groups.append([positive, *chosen])
    return queries, passages, np.array(groups, np.int32)
