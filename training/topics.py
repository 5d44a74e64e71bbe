"""Learns what texts are about: a vector and a weight per token, whose weighted sum tells a query's passage from others.

    python3 topics.py --checkpoint /tmp/rankfleet-box.pt --steps 9000

A bag of vectors sees 10,000 pairs a second where the matcher sees 1,000, so it goes over all the text many times.
Each query, or a span of a passage in its place (an inverse cloze), is told from the other passages of its batch by
their cosines (InfoNCE, van den Oord et al. 2018). It goes into the checkpoint; fuse.py learns what it weighs.
"""

import argparse
import math
import random
import time

import numpy as np
import torch
from torch.nn import functional as F

from batches import MAX_QUERY_TOKENS
from corpus import read_all_training, read_validation
from embeddings import ppmi_svd
from export import load
from model import Topics
from train import SEED, initial_idf
from validation import prepare
from vocabulary import Tokenizer

DIMENSIONS = 192
PAIRS_PER_STEP = 1024
# Pairs that are neighbours in a batch are of one source: telling those apart is what takes learning.
BLOCK = 256
TEMPERATURE = 0.05
SPANS = 0.5
DROPPED = 0.1


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--checkpoint", required=True)
    arguments.add_argument("--steps", type=int, default=9_000)
    options = arguments.parse_args()
    random.seed(SEED), np.random.seed(SEED), torch.manual_seed(SEED)
    torch.set_num_threads(2)
    start = time.time()
    say = lambda text: print(f"[{time.time() - start:6.0f} s] {text}", flush=True)

    box, vocabulary = load(options.checkpoint)
    tokenizer = Tokenizer(vocabulary)
    sources = [
        [(encode(tokenizer, pair.query, MAX_QUERY_TOKENS), encode(tokenizer, pair.document[:2000], 320)) for pair in pairs]
        for pairs in read_all_training().values()
    ]
    sources = [[pair for pair in pairs if len(pair[0]) > 0 and len(pair[1]) > 0] for pairs in sources]
    documents = [document for pairs in sources for _, document in pairs]
    say(f"{len(documents)} pairs of {len(sources)} sources")
    topics = Topics(len(vocabulary), DIMENSIONS)
    with torch.no_grad():
        topics.vectors.weight.copy_(ppmi_svd(documents, len(vocabulary), DIMENSIONS, SEED))
        topics.vectors.weight[0] = 0
        idf = initial_idf(documents, box.stems.numpy())
        topics.weight.weight.copy_(torch.log(torch.expm1(idf)).unsqueeze(1))
    checks = {name: prepare(pairs, tokenizer) for name, pairs in read_validation().items()}

    def check(step: int, loss: float) -> None:
        ranks = [reciprocal_rank(topics, candidates) for candidates in checks.values()]
        say(f"step {step}: loss {loss:.3f}, validation MRR by topics alone {np.mean(ranks):.4f}")

    fit(topics, sources, options.steps, check)
    saved = torch.load(options.checkpoint)
    saved["topics"] = topics.state_dict()
    torch.save(saved, options.checkpoint)


def encode(tokenizer: Tokenizer, text: str, tokens: int) -> np.ndarray:
    return np.array(tokenizer.encode(text)[:tokens], np.int32)


def pooled(topics: Topics, texts: list[np.ndarray]) -> torch.Tensor:
    """float32 [texts, dimensions], of length 1."""
    ids = torch.from_numpy(np.concatenate(texts).astype(np.int64))
    offsets = torch.from_numpy(np.cumsum([0, *map(len, texts[:-1])]))
    weights = F.softplus(topics.weight.weight[ids, 0])
    sums = F.embedding_bag(ids, topics.vectors.weight, offsets, mode="sum", per_sample_weights=weights)
    return F.normalize(sums, dim=1, eps=1e-6)


def reciprocal_rank(topics: Topics, candidates) -> float:
    ranks = []
    with torch.no_grad():
        for pairs, right in zip(candidates.pairs, candidates.right):
            scores = pooled(topics, [pairs[0][0]]) @ pooled(topics, [document[:320] for _, document in pairs]).T
            ranks.append(1 / (1 + int((scores[0] > scores[0, right]).sum())))
    return float(np.mean(ranks))


def span_and_rest(document: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A piece of a passage as the query, short as often as long, and the passage without it."""
    size = rng.integers(4, 16) if rng.random() < 0.5 else rng.integers(8, max(9, len(document) // 2))
    start = rng.integers(0, len(document) - size + 1)
    return document[start : start + size], np.concatenate([document[:start], document[start + size :]])


def fit(topics: Topics, sources, steps: int, check) -> None:
    rng = np.random.default_rng(SEED)
    chances = np.cumsum(np.sqrt([len(pairs) for pairs in sources]))
    optimizer = torch.optim.Adam(
        [{"params": [topics.vectors.weight], "lr": 4e-3}, {"params": [topics.weight.weight], "lr": 5e-3}],
        betas=(0.9, 0.98),
    )
    rates = [group["lr"] for group in optimizer.param_groups]
    losses = [0.0]
    for step in range(steps):
        if step % max(1, steps // 8) == 0:
            check(step, float(np.mean(losses[-200:])))
        rate = min(1, step / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group, base in zip(optimizer.param_groups, rates):
            group["lr"] = base * rate
        queries, documents = [], []
        for source in np.searchsorted(chances, rng.random(PAIRS_PER_STEP // BLOCK) * chances[-1]):
            for index in rng.integers(0, len(sources[source]), BLOCK):
                query, document = sources[source][index]
                if rng.random() < SPANS and len(document) > 24:
                    query, document = span_and_rest(document, rng)
                if len(document) > 10:
                    document = document[rng.random(len(document)) > DROPPED]
                queries.append(query), documents.append(document)
        similarity = pooled(topics, queries) @ pooled(topics, documents).T / TEMPERATURE
        right = torch.arange(len(queries))
        loss = F.cross_entropy(similarity, right) + 0.5 * F.cross_entropy(similarity.T, right)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    with torch.no_grad():
        topics.vectors.weight[0] = 0
    check(steps, float(np.mean(losses[-200:])))


if __name__ == "__main__":
    main()
