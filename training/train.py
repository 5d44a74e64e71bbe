"""Trains the model in the box from ../shared/data/train: see README.md for what it prints.

    python3 train.py --steps 11000 --out /tmp/box.pt
"""

import argparse
import copy
import math
import random
import time

import numpy as np
import torch
from torch.nn import functional as F

from batches import MAX_QUERY_TOKENS, to_rows
from corpus import inverse_cloze, read_held_out, read_training, read_validation
from embeddings import ppmi_svd
from model import Box
from negatives import make_groups
from stems import stem_classes
from validation import prepare, reciprocal_ranks
from vocabulary import Tokenizer, learn

SEED = 7
GROUPS_PER_STEP = 24
DIMENSIONS = 96
VOCABULARY = 28_000
EMA = 0.999
CROPPED = 0.2
QUERIES_HELD_OUT = 30


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--steps", type=int, default=11_000, help="of the training loop; 40 minutes on two cores")
    arguments.add_argument("--out", default="/tmp/rankfleet-box.pt", help="checkpoint to write")
    options = arguments.parse_args()
    random.seed(SEED), np.random.seed(SEED), torch.manual_seed(SEED)
    torch.set_num_threads(2)

    start = time.time()
    say = lambda text: print(f"[{time.time() - start:6.0f} s] {text}", flush=True)
    sources = read_training()
    say(f"{sum(map(len, sources.values()))} pairs of {len(sources)} sources")
    texts = [text for pairs in sources.values() for pair in pairs[:8000] for text in (pair.query, pair.document)]
    vocabulary = learn(texts, VOCABULARY)
    tokenizer = Tokenizer(vocabulary)
    say(f"vocabulary of {len(vocabulary)} pieces")

    queries, passages, groups, chances = gather(sources, tokenizer)
    say(f"{len(groups)} groups over {len(passages)} passages")
    model = Box(stem_classes(vocabulary), DIMENSIONS)
    initialize(model, passages)
    say("token vectors and weights from the text")
    checks = {name: prepare(pairs, tokenizer) for name, pairs in read_validation().items()}
    held_out = {name: prepare(pairs, tokenizer, QUERIES_HELD_OUT) for name, pairs in read_held_out().items()}

    def check(step: int, candidate: Box) -> float:
        figures = {name: reciprocal_ranks(candidate, c) for name, c in checks.items()}
        mean = float(np.mean([ours for _, ours in figures.values()]))
        shown = "  ".join(f"{name} {bm25:.3f}→{ours:.3f}" for name, (bm25, ours) in figures.items())
        inside = np.mean([reciprocal_ranks(candidate, c) for c in held_out.values()], axis=0)
        say(f"step {step}: validation MRR {mean:.4f}  ({shown}); held-out pairs of training domains {inside[0]:.3f}→{inside[1]:.3f}")
        return mean

    def keep(best: Box) -> None:
        torch.save({"state": best.state_dict(), "vocabulary": vocabulary, "dimensions": DIMENSIONS}, options.out)

    fit(model, queries, passages, groups, chances, options.steps, check, keep)
    say(f"written to {options.out}")


def gather(sources, tokenizer):
    """All sources' groups in one numbering, tokenised, and how often each is to be drawn."""
    queries, passages, groups, chances = [], [], [], []
    for number, (name, pairs) in enumerate(sources.items()):
        extra = inverse_cloze(pairs, 0.25, SEED + number)
        source_queries, source_passages, source_groups = make_groups(pairs, extra, SEED + number)
        groups.append(source_groups + len(passages))
        # By the square root of its size, so that large sources do not drown the small ones.
        chances.append(np.full(len(source_groups), len(source_groups) ** -0.5))
        queries += [np.array(tokenizer.encode(query)[:MAX_QUERY_TOKENS], np.int32) for query in source_queries]
        passages += [np.array(tokenizer.encode(passage[:3500])[:600], np.int32) for passage in source_passages]
    return queries, passages, np.concatenate(groups), np.concatenate(chances)


def initialize(model: Box, passages: list[np.ndarray]) -> None:
    """Vectors by PPMI; weights such that softplus(weight) is the IDF of the token's stem."""
    size = model.embedding.num_embeddings
    idf = initial_idf(passages, model.stems.numpy())
    with torch.no_grad():
        model.embedding.weight.copy_(ppmi_svd(passages, size, model.embedding.embedding_dim, SEED))
        model.embedding.weight[0] = 0
        model.weight.weight.copy_(torch.log(torch.expm1(idf)).unsqueeze(1))


def initial_idf(passages: list[np.ndarray], stems: np.ndarray) -> torch.Tensor:
    """float32 [vocabulary]: how rare the stem of each token is among the passages."""
    df = np.bincount(np.concatenate([np.unique(stems[passage]) for passage in passages]), minlength=len(stems))[stems]
    return torch.from_numpy(np.log(1 + (len(passages) - df + 0.5) / (df + 0.5))).float().clamp(0.05, 9)


def varied(passage: np.ndarray, others: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """The passage, now and then a piece of it, or hidden in a longer text between two of its source.

    How long the passages of a domain are must not tell right from wrong, and an answer may stand anywhere
    in a long document.
    """
    if others is not None:
        before, after = others
        return np.concatenate([before[: rng.integers(0, 250)], passage[:250], after[: rng.integers(0, 250)]])
    if rng.random() >= CROPPED:
        return passage
    size = max(24, int(len(passage) * rng.uniform(0.6, 1)))
    start = rng.integers(0, max(1, len(passage) - size + 1))
    return passage[start : start + size]


def fit(model, queries, passages, groups, chances, steps, check, keep):
    """Listwise softmax plus a little cross-entropy, which anchors the sigmoid at one half."""
    rng = np.random.default_rng(SEED)
    cumulative = np.cumsum(chances) / chances.sum()
    # What PPMI and IDF say of a token holds in every domain; training may bend it, but slowly, or the
    # model forgets it for the domains at hand.
    slow = [model.embedding.weight, model.weight.weight, model.saturation]
    fast = [p for p in model.parameters() if all(p is not q for q in slow)]
    optimizer = torch.optim.AdamW([{"params": slow, "lr": 2e-4, "weight_decay": 0.0}, {"params": fast, "lr": 2e-3, "weight_decay": 0.02}])
    rates = [group["lr"] for group in optimizer.param_groups]
    average, best_figure = copy.deepcopy(model), 0.0
    losses = []
    for step in range(steps + 1):
        if step % max(1, steps // 12) == 0 or step == steps:
            figure = check(step, average)
            if losses:
                print(f"           loss {np.mean(losses[-500:]):.4f}", flush=True)
            if figure > best_figure:
                best_figure = figure
                keep(average)
        if step == steps:
            return
        rate = min(1, step / 300) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group, base in zip(optimizer.param_groups, rates):
            group["lr"] = base * rate
        # Lengths vary from step to step: the model must not take the length of a batch for granted.
        max_tokens = int(rng.choice([64, 96, 128, 192, 256, 512], p=[0.15, 0.25, 0.25, 0.15, 0.12, 0.08]))
        size = max(4, GROUPS_PER_STEP * 96 // max(96, max_tokens))
        chosen = np.searchsorted(cumulative, rng.random(size))
        # Long documents: every passage of the group between two others, which are of its source as well.
        is_long = max_tokens >= 256 and rng.random() < 0.6
        between = lambda: (passages[near[rng.integers(len(near))]], passages[near[rng.integers(len(near))]])
        pairs = []
        for i in chosen:
            near = groups[rng.integers(max(0, i - 200), min(len(groups), i + 200), 8), -1]
            pairs += [(queries[i], varied(passages[j], between() if is_long else None, rng)) for j in groups[i]]
        logits = model(*to_rows(pairs, max_tokens)).view(size, -1)
        target = torch.zeros_like(logits)
        target[:, 0] = 1
        weight = torch.where(target > 0, 4.0, 1.0)
        loss = F.cross_entropy(logits, torch.zeros(size, dtype=torch.long))
        loss = loss + 0.15 * F.binary_cross_entropy_with_logits(logits, target, weight=weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss))
        decay = min(EMA, (step + 1) / (step + 21))
        with torch.no_grad():
            for mean, current in zip(average.parameters(), model.parameters()):
                mean.lerp_(current, 1 - decay)


if __name__ == "__main__":
    main()
