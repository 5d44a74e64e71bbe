"""Trains the reader from nothing on the arrays of tables.py: masked tokens of pairs first, then groups of passages.

    python3 train_reader.py --tables /tmp/rankfleet-tables --out /tmp/rankfleet-reader.pt

It wants a GPU: nine minutes of an H100, where two CPU cores would take more than a day. Seeds are fixed, but a GPU adds
up gradients in any order, so a second run gives other digits.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import reader as architecture
from model import Box
from muon import Muon
from reader import Reader
from reader_rows import DEVICE, GROUP, LONG, QUERY_TOKENS, Texts, draw, initial_vectors, rows
from vocabulary import MASK, SPECIAL

SEED = 7
CUDA = DEVICE == "cuda"
DTYPE = torch.bfloat16 if CUDA else torch.float32
PLAIN_LAYER = architecture.layer
# Tokens of a row, and how often: few long ones, in which the passage stands between two others.
LENGTHS, OFTEN = [128, 224, LONG], [0.6, 0.3, 0.1]
MASKED = 0.15
RATE = 3e-3


def read(box: Box, reader: Reader, ids, mask, types):
    """Logits float32 [rows], from what the matcher would tell the reader."""
    with torch.no_grad():
        real = mask * (ids >= len(SPECIAL)).float()
        width = min(QUERY_TOKENS + 2, ids.shape[1])
        query, document = (real * (1 - types))[:, :width], real * types
        lengths = document.sum(1, keepdim=True)
        equal, same = box._same(ids, document, width), box._same(box.stems[ids], document, width)
        marks = box.marks(ids, equal, same, query)
        weights = F.softplus(box.weight(ids[:, :width])).squeeze(2) * query
        saturated = box._saturated(same.sum(2, keepdim=True), lengths).squeeze(2)
        bm25 = (saturated * weights).sum(1, keepdim=True) / (weights.sum(1, keepdim=True) + 1e-6)
    return reader(ids, mask, types, marks, bm25, lengths, DTYPE).squeeze(1)


class Steps:
    """How far training has come: by a fixed number of steps, or by seconds, where the number is what comes of it."""

    def __init__(self, number: int | None, seconds: float | None):
        self.number, self.seconds, self.done, self.begin = number, seconds, 0, time.time()

    def progress(self) -> float:
        return self.done / self.number if self.seconds is None else (time.time() - self.begin) / self.seconds


class Updates:
    """Steps of both optimizers: Muon for the matrices of the layers, AdamW for the rest and what is trained `beside`."""

    def __init__(self, reader: Reader, beside: list[nn.Parameter]):
        matrices = [matrix for each in reader.layers for matrix in each.matrices()] + [reader.join]
        self.others = [p for p in reader.parameters() if all(p is not q for q in matrices)] + beside
        self.muon = Muon(matrices, rate=0.02)
        self.adam = torch.optim.AdamW(self.others, lr=RATE, betas=(0.9, 0.98), weight_decay=0.0, **({"fused": True} if CUDA else {}))

    def __call__(self, loss: torch.Tensor, share: float) -> None:
        """One update at `share` of the learning rates."""
        loss.backward()
        nn.utils.clip_grad_norm_(self.others, 1.0)
        self.adam.param_groups[0]["lr"] = RATE * share
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        self.muon.step(share)


class MaskedHead(nn.Module):
    """Both tokens of each position, from what the reader makes of it."""

    def __init__(self, reader: Reader):
        super().__init__()
        width, vectors = reader.join.shape[0], reader.vectors.shape[1]
        self.split = nn.Linear(width, 2 * vectors, bias=False)
        self.bias = nn.Parameter(torch.zeros(len(reader.vectors)))

    def forward(self, reader: Reader, encoded, where):
        """Logits float32 [tokens, vocabulary] of the tokens at `where`, places in the flattened batch."""
        each = F.linear(encoded, self.split.weight.to(encoded.dtype)).reshape(encoded.shape[0] * encoded.shape[1] * 2, -1)
        chosen = each.index_select(0, where) * reader.vectors.shape[1] ** -0.5
        return F.linear(chosen, reader.vectors.to(chosen.dtype), self.bias.to(chosen.dtype)).float()


def fit_masked(reader: Reader, texts: tuple[Texts, Texts], groups, steps: Steps, tokens: int, say) -> None:
    """Hidden tokens of query and passage, from what stands around them."""
    queries, documents = texts
    size = 128
    batch = tokens // size
    hidden = int(MASKED * batch * size)
    head = MaskedHead(reader).to(DEVICE)
    update = Updates(reader, list(head.parameters()))
    word = torch.arange(QUERY_TOKENS, device=DEVICE)
    losses = []
    while steps.progress() < 1:
        pair = torch.randint(len(groups), (batch,), device=DEVICE)
        document = groups[pair, 0]
        asked = queries.at(queries.start[pair].unsqueeze(1) + word)
        # Any part of the passage.
        begin = (torch.rand(batch, device=DEVICE) * ((documents.length[document] - size // 2).clamp(min=0) + 1)).long()
        ids, mask, types = rows(asked, queries.length[pair], documents, documents.start[document] + begin, documents.length[document] - begin, size)
        flat = ids.reshape(-1)
        where = torch.rand(len(flat), device=DEVICE).masked_fill(flat < len(SPECIAL), 2).topk(hidden, largest=False).indices
        target, shown = flat[where], flat.clone()
        # One in ten is to be told where nothing is hidden.
        shown[where[: int(0.9 * hidden)]] = MASK
        marks = torch.zeros(batch, size, architecture.MARKS, device=DEVICE)
        logits = head(reader, reader.encode(shown.view(batch, size), mask, types, marks, DTYPE, 0), where)
        loss = F.cross_entropy(logits, target)
        update(loss, min(1, (steps.done + 1) / 100))
        steps.done += 1
        losses.append(loss.detach())
        if steps.done in (1, 2, 10, 50) or steps.done % 500 == 0:
            say(f"masked step {steps.done}: loss {torch.stack(losses[-100:]).mean():.3f}")
    say(f"{steps.done} masked steps, loss {torch.stack(losses[-100:]).mean():.3f}")


def fit_groups(box: Box, reader: Reader, texts, groups, sources, steps: Steps, tokens: int, check, say) -> None:
    """Listwise softmax plus a little cross-entropy, as the matcher."""
    chance = torch.bincount(sources).float().clamp(min=1)[sources] ** -0.5
    cumulative = torch.cumsum(chance.double() / chance.double().sum(), 0).float()
    generator = np.random.default_rng(SEED)
    update = Updates(reader, [])
    losses, checks = [], 0
    while steps.progress() < 1:
        progress = steps.progress()
        if progress > (checks + 1) * 0.25:
            checks += 1
            check(f"step {steps.done}")
        size = int(generator.choice(LENGTHS, p=OFTEN))
        number = max(2, tokens // size // GROUP)
        logits = read(box, reader, *draw(texts, groups, cumulative, number, size)).view(number, GROUP)
        target = torch.zeros_like(logits)
        target[:, 0] = 1
        loss = F.cross_entropy(logits, torch.zeros(number, dtype=torch.long, device=DEVICE))
        loss = loss + 0.15 * F.binary_cross_entropy_with_logits(logits, target, weight=1 + 3 * target)
        update(loss, min(1, (steps.done + 1) / 100) * max(0.0, 1 - progress) * 0.5)
        steps.done += 1
        losses.append(loss.detach())
        if steps.done in (1, 2, 10, 50) or steps.done % 500 == 0:
            say(f"step {steps.done}: loss {torch.stack(losses[-200:]).mean():.4f}, {steps.done * number / len(groups):.2f} times over")
    say(f"{steps.done} steps, loss {torch.stack(losses[-200:]).mean():.4f}")


class Checks:
    """Queries that are not trained on, each with its candidates: validation.py's, and held-out pairs."""

    def __init__(self, folder: Path, most: int | None):
        self.lists = json.loads((folder / "check_lists.json").read_text())[:most]
        self.queries, self.documents = Texts(folder, "check_queries", QUERY_TOKENS), Texts(folder, "check_documents", 512)
        self.documents.length = self.documents.length[: self.lists[-1]["first"] + self.lists[-1]["count"]]
        self.query_of = torch.repeat_interleave(
            torch.arange(len(self.lists), device=DEVICE), torch.tensor([each["count"] for each in self.lists], device=DEVICE)
        )

    def scores(self, box: Box, reader: Reader, chunk: int) -> np.ndarray:
        total = (self.queries.length[self.query_of] + self.documents.length + 3).clamp(max=256)
        order = torch.argsort(total)
        scores = torch.zeros(len(total), device=DEVICE)
        # Shapes seldom repeat here: compiling for each would take longer than all of it.
        compiled, architecture.layer = architecture.layer, PLAIN_LAYER
        word = torch.arange(QUERY_TOKENS, device=DEVICE)
        sorted_total = total[order].cpu().numpy()
        begin = 0
        with torch.no_grad():
            for size in (64, 128, 192, 256):
                end = int(np.searchsorted(sorted_total, size, side="right"))
                for part in order[begin:end].split(chunk // size):
                    query = self.query_of[part]
                    asked = self.queries.at(self.queries.start[query].unsqueeze(1) + word)
                    given = rows(asked, self.queries.length[query], self.documents, self.documents.start[part], self.documents.length[part], size)
                    scores[part] = read(box, reader, *given)
                begin = end
        architecture.layer = compiled
        return scores.cpu().numpy()

    def report(self, scores: np.ndarray) -> str:
        """Mean reciprocal rank by source, BM25's first."""
        ranks: dict[str, list[tuple[float, float]]] = {}
        for each in self.lists:
            own = scores[each["first"] : each["first"] + each["count"]]
            rank = 1 + int((own > own[each["right"]]).sum())
            ranks.setdefault(each["source"], []).append((1 / (1 + each["right"]), 1 / rank))
        means = {source: np.mean(values, axis=0) for source, values in ranks.items()}
        parts = []
        for kind in ("validation", "held out"):
            of_kind = {source.removeprefix(kind + " "): mean for source, mean in means.items() if source.startswith(kind)}
            if not of_kind:
                continue
            bm25, ours = np.mean(list(of_kind.values()), axis=0)
            shown = " ".join(f"{source[:12]} {before:.2f}→{after:.2f}" for source, (before, after) in of_kind.items())
            parts.append(f"{kind} {bm25:.4f}→{ours:.4f} ({shown})")
        return "\n           ".join(parts)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tables", required=True)
    arguments.add_argument("--out", required=True, help="checkpoint to write")
    arguments.add_argument("--masked-steps", type=int, default=4_942)
    arguments.add_argument("--steps", type=int, default=21_327)
    arguments.add_argument("--seconds", type=float, help="as many steps as fit, a fifth of the time for masked ones")
    arguments.add_argument("--tokens", type=int, default=131_072, help="of a step")
    arguments.add_argument("--few", action="store_true", help="a few hundred pairs only, to try whether it runs")
    options = arguments.parse_args()
    torch.manual_seed(SEED)
    start = time.time()
    say = lambda text: print(f"[{time.time() - start:6.1f} s] {text}", flush=True)
    if CUDA:
        torch.backends.cuda.matmul.allow_tf32 = True
        # One graph for each length of rows and each number of wanted positions.
        from torch import _dynamo

        _dynamo.config.cache_size_limit = 64
        _dynamo.config.suppress_errors = True
        architecture.layer = torch.compile(architecture.layer, dynamic=False)

    folder = Path(options.tables)
    documents, queries = Texts(folder, "documents", 512), Texts(folder, "queries", QUERY_TOKENS)
    groups = torch.from_numpy(np.load(folder / "groups.npy").astype(np.int64)).to(DEVICE)
    sources = torch.from_numpy(np.load(folder / "sources.npy").astype(np.int64)).to(DEVICE)
    checks = Checks(folder, 12 if options.few else None)
    if options.few:
        groups, sources = groups[::600], sources[::600]
    stems = np.load(folder / "stems.npy").astype(np.int64).tolist()
    box = Box(stems)
    with torch.no_grad():
        box.weight.weight.copy_(torch.from_numpy(np.load(folder / "term_weights.npy")).unsqueeze(1))
        box.saturation.copy_(torch.from_numpy(np.load(folder / "saturation.npy")))
    box = box.to(DEVICE).requires_grad_(False)
    reader = Reader(len(stems)).to(DEVICE)
    say(f"{len(groups)} groups over {len(documents.length)} passages of {len(documents.flat) / 1e6:.1f} M tokens")
    with torch.no_grad():
        scale = 0.5 * math.sqrt(reader.vectors.shape[1])
        if not options.few:
            reader.vectors.copy_(scale * initial_vectors(documents, len(stems), reader.vectors.shape[1]))
    say(f"{sum(p.numel() for p in reader.parameters()) / 1e6:.2f} M parameters")

    def check(tag: str) -> None:
        say(f"{tag}: {checks.report(checks.scores(box, reader, 4 * options.tokens))}")

    texts = (queries, documents)
    masked = Steps(options.masked_steps, options.seconds and 0.2 * options.seconds)
    fit_masked(reader, texts, groups, masked, options.tokens, say)
    ranked = Steps(options.steps, options.seconds and options.seconds - (time.time() - start))
    if options.few:
        check("before")
    fit_groups(box, reader, texts, groups, sources, ranked, options.tokens, check, say)
    state = {name: value.half().cpu() for name, value in reader.state_dict().items()}
    torch.save({"state": state, "steps": (masked.done, ranked.done)}, options.out)
    check("end")


if __name__ == "__main__":
    main()
