"""How well a model orders BM25's candidates of sources that it was not trained on."""

from dataclasses import dataclass

import numpy as np
import torch

from batches import to_rows
from bm25 import Bm25
from corpus import Pair, answers
from vocabulary import Tokenizer

DEPTH = 50
QUERIES = 150


@dataclass(frozen=True)
class Candidates:
    """One source's queries, each with BM25's best passages and the place of the right one."""

    pairs: list[list[tuple[np.ndarray, np.ndarray]]]
    bm25: list[np.ndarray]
    right: list[int]


def prepare(pairs: list[Pair], tokenizer: Tokenizer, queries: int = QUERIES) -> Candidates:
    """The first `queries` pairs whose passage BM25 finds, among all the pairs' passages but the query's other answers."""
    passages = list(dict.fromkeys(pair.document for pair in pairs))
    place = {passage: index for index, passage in enumerate(passages)}
    answered_by = answers(pairs, place)
    index = Bm25(passages)
    tokens = [np.array(tokenizer.encode(passage[:3000])) for passage in passages]
    chosen, bm25, right = [], [], []
    for pair in pairs:
        if len(chosen) == queries:
            break
        own = place[pair.document]
        others = answered_by[pair.query.lower()] - {own}
        ranked, scores = index.search(pair.query, DEPTH + len(others))
        kept = [rank for rank, passage in enumerate(ranked) if int(passage) not in others][:DEPTH]
        found, scores = [int(ranked[rank]) for rank in kept], scores[kept]
        if own not in found:
            continue
        query = np.array(tokenizer.encode(pair.query))
        chosen.append([(query, tokens[i]) for i in found])
        bm25.append(scores)
        right.append(found.index(own))
    return Candidates(chosen, bm25, right)


def reciprocal_ranks(model: torch.nn.Module, candidates: Candidates, max_tokens: int = 256) -> tuple[float, float]:
    """Mean reciprocal rank of BM25's order and of the model's."""
    ours = []
    model.eval()
    with torch.no_grad():
        for pairs, right in zip(candidates.pairs, candidates.right):
            scores = model(*to_rows(pairs, max_tokens)).squeeze(1)
            ours.append(1 / (1 + int((scores > scores[right]).sum())))
    return float(np.mean([1 / (1 + right) for right in candidates.right])), float(np.mean(ours))
