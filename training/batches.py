"""Token ids → padded rows, laid out as the tokenizer's template does at run time. Only there a query may be longer."""

import numpy as np
import torch

from vocabulary import CLS, SEP

MAX_QUERY_TOKENS = 64


def to_rows(pairs: list[tuple[np.ndarray, np.ndarray]], max_tokens: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`[CLS] query [SEP] document [SEP]`, the document cut to fit: ids, mask and types, int64 [rows, length]."""
    rows = []
    for query, document in pairs:
        query = query[:MAX_QUERY_TOKENS]
        rows.append((query, document[: max_tokens - len(query) - 3]))
    length = max(len(query) + len(document) + 3 for query, document in rows)
    ids, mask, types = (np.zeros((len(rows), length), np.int64) for _ in range(3))
    for row, (query, document) in enumerate(rows):
        second, end = len(query) + 2, len(query) + len(document) + 3
        ids[row, 0] = CLS
        ids[row, 1 : second - 1] = query
        ids[row, second - 1] = ids[row, end - 1] = SEP
        ids[row, second : end - 1] = document
        mask[row, :end] = 1
        types[row, second:end] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(types)
