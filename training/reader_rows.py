"""The arrays of tables.py on the device, and rows of tokens from them; see train_reader.py."""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from vocabulary import CLS, MASK, PAD, SEP, SPECIAL

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
QUERY_TOKENS = 64
GROUP = 12
SPANS, CROPPED, DROPPED = 0.15, 0.2, 0.08
# Rows of as many tokens hold the passage between two others.
LONG = 384


class Texts:
    """Token ids of many texts on the device: `flat`, and where each one starts and how long it is."""

    def __init__(self, folder: Path, name: str, most: int):
        self.flat = torch.from_numpy(np.load(folder / f"{name}.npy").astype(np.int32)).to(DEVICE)
        self.length = torch.from_numpy(np.load(folder / f"{name}_lengths.npy").astype(np.int64)).to(DEVICE)
        self.start = torch.cumsum(self.length, 0) - self.length
        self.length = self.length.clamp(max=most)

    def at(self, places):
        """int64 like `places`, which may lie outside: what is there is to be masked."""
        return self.flat[places.clamp(0, len(self.flat) - 1)].long()


def rows(query, query_length, documents: Texts, start, length, size: int):
    """`[CLS] query [SEP] document [SEP]`, the document cut to fit: ids and types int64, mask float32, all [rows, size].

    `query` int64 [rows, QUERY_TOKENS]; the rest int64 [rows].
    """
    place = torch.arange(size, device=DEVICE).unsqueeze(0)
    query_length, length = query_length.unsqueeze(1), length.unsqueeze(1)
    length = torch.minimum(length, size - 3 - query_length)
    inside = place - query_length - 2
    asked = query.gather(1, (place - 1).clamp(0, QUERY_TOKENS - 1).expand(len(query), size))
    told = documents.at(start.unsqueeze(1) + inside)
    ids = torch.where(place <= query_length, asked, told)
    ids = torch.where((place == query_length + 1) | (inside == length), SEP, ids)
    ids = torch.where(place == 0, CLS, torch.where(inside > length, PAD, ids))
    return ids, (inside <= length).float(), ((inside >= 0) & (inside <= length)).long()


def draw(texts: tuple[Texts, Texts], groups, cumulative, number: int, size: int):
    """`number` groups as rows of `size` tokens: ids, mask and types [number * GROUP, size]; the right passage is first."""
    queries, documents = texts
    uniform = lambda *shape: torch.rand(*shape, device=DEVICE)
    pair = torch.searchsorted(cumulative, uniform(number)).clamp(max=len(groups) - 1)
    group = groups[pair]
    right = group[:, 0]
    # A span of the passage as the query, now and then (inverse cloze); half of the time the passage begins after it.
    span = (uniform(number) < SPANS) & (documents.length[right] > 50)
    span_size = torch.randint(4, 13, (number,), device=DEVICE)
    span_start = (uniform(number) * (documents.length[right].clamp(max=120) - span_size).clamp(min=1)).long()
    word = torch.arange(QUERY_TOKENS, device=DEVICE)
    length = torch.where(span, span_size, queries.length[pair])
    asked = torch.where(
        span.unsqueeze(1),
        documents.at((documents.start[right] + span_start).unsqueeze(1) + word),
        queries.at(queries.start[pair].unsqueeze(1) + word),
    )
    start, left = documents.start[group], documents.length[group].clone()
    cropped = (uniform(number, GROUP) < CROPPED) & (left > 40)
    offset = torch.where(cropped, (uniform(number, GROUP) * left * 0.3).long(), torch.zeros_like(left))
    offset[:, 0] = torch.where(span & (uniform(number) < 0.5), torch.minimum(span_start + span_size, left[:, 0] - 8), offset[:, 0])
    start, left = start + offset, left - offset
    if size >= LONG:
        # What stands before and after is another passage of the source.
        before = torch.randint(0, 130, (number, GROUP), device=DEVICE)
        before = torch.minimum(before, start)
        start, left = start - before, left + before + torch.randint(0, 130, (number, GROUP), device=DEVICE)
        left = torch.minimum(left, len(documents.flat) - start)
    repeat = lambda value: value.repeat_interleave(GROUP, 0)
    ids, mask, types = rows(repeat(asked), repeat(length), documents, start.reshape(-1), left.reshape(-1), size)
    dropped = (uniform(number) < 0.5).float() * DROPPED
    ids = torch.where((uniform(*ids.shape) < repeat(dropped).unsqueeze(1)) & (ids >= len(SPECIAL)), MASK, ids)
    return ids, mask, types


def initial_vectors(documents: Texts, vocabulary: int, dimensions: int) -> torch.Tensor:
    """As embeddings.py, of length 1: PPMI of neighbours within five tokens, by SVD."""
    counts = torch.zeros(vocabulary * vocabulary, device=DEVICE)
    for distance in range(1, 6):
        for first in range(0, len(documents.flat) - distance, 4_000_000):
            last = min(first + 4_000_000, len(documents.flat) - distance)
            key = documents.flat[first:last].long() * vocabulary + documents.flat[first + distance : last + distance].long()
            counts.index_add_(0, key, torch.full((len(key),), 1 / distance, device=DEVICE))
    counts = counts.view(vocabulary, vocabulary)
    counts = counts + counts.T
    rows_of, total = counts.sum(1) + 1e-6, counts.sum()
    smoothed = rows_of**0.75
    counts.div_(rows_of[:, None]).div_(smoothed / smoothed.sum()).log_().clamp_(min=0)
    left, singular, _ = torch.svd_lowrank(counts, q=dimensions + 16, niter=2)
    return F.normalize(left[:, :dimensions] * singular[:dimensions].sqrt(), dim=1, eps=1e-3)
