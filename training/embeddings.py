"""Token vectors before training: PPMI over the training text, factored (Levy & Goldberg 2014).

Tokens that occur in the same company get near vectors, so soft matches carry some meaning from the
first step on.
"""

import numpy as np
import torch

WINDOW = 5


def ppmi_svd(documents: list[np.ndarray], vocabulary: int, dimensions: int, seed: int) -> torch.Tensor:
    """float32 [vocabulary, dimensions]; rows of tokens never seen are small noise."""
    counts = np.zeros((vocabulary, vocabulary), np.float32)
    stream = np.concatenate([np.concatenate([document, [0] * WINDOW]) for document in documents]).astype(np.int64)
    for offset in range(1, WINDOW + 1):
        keys, seen = np.unique(stream[:-offset] * vocabulary + stream[offset:], return_counts=True)
        np.add.at(counts.reshape(-1), keys, seen / offset)
    counts += counts.T
    counts[0, :] = counts[:, 0] = 0  # Padding between documents.
    total = counts.sum()
    rows = counts.sum(1) + 1e-6
    smoothed = rows**0.75
    smoothed /= smoothed.sum()
    # In place: the matrix has three gigabytes.
    counts /= rows[:, None]
    counts /= smoothed
    with np.errstate(divide="ignore"):
        np.log(counts, out=counts)
    ppmi = torch.from_numpy(np.maximum(counts, 0, out=counts))
    torch.manual_seed(seed)
    left, singular, _ = torch.svd_lowrank(ppmi, q=dimensions + 16, niter=2)
    vectors = left[:, :dimensions] * singular[:dimensions].sqrt()
    vectors = vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-3)
    return vectors + 0.01 * torch.randn(vectors.shape)
