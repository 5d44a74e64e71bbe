"""The scorer: kernel pooling over exact and soft matches of query and document tokens.

With an hour of two CPU cores and no pretrained weights, a plain transformer does not learn to find
matches. So matching is built in (K-NRM, Xiong et al. 2017; Conv-KNRM, Dai et al. 2018; TK, Hofstätter
et al. 2020): each query token is compared with each document token, by identity, by stem, by the
embeddings, and by vectors that two small convolutions have put in context; kernels count how many
document tokens match how well; a learnt weight per token, first its IDF, says how much it matters.

Before training the logit is BM25's sum over stems (Robertson & Zaragoza 2009), as a share of what the
query could get at most. Training adds to it what else it finds to hold in many domains. Last come what
the texts are about as a whole (`Topics`) and what a small transformer makes of them (`Reader`), each learnt
apart. The inputs are an ordinary cross-encoder's.
"""

import torch
from torch import nn
from torch.nn import functional as F

from reader import Reader
from vocabulary import SPECIAL

# Query tokens beyond this take no part in matching.
MAX_QUERY = 96
KERNEL_MEANS = (0.95, 0.8, 0.65, 0.5, 0.35, 0.2)
KERNEL_WIDTH = 0.1
# How far apart two neighbours of the query may be in the document to count as near.
NEAR = 7
# Tokens of a window: what stands together in a long document counts for more than what is scattered.
WINDOW = 48
# Beyond this the reader's logit counts for no more.
SUREST = 6.0
FEATURES = 2 * (len(KERNEL_MEANS) + 1) + 9
POOLED = 6


class Topics(nn.Module):
    """What a text is about: the weighted sum of its tokens' vectors, without regard to their order."""

    def __init__(self, vocabulary: int, dimensions: int = 192):
        super().__init__()
        self.vectors = nn.Embedding(vocabulary, dimensions, padding_idx=0)
        self.weight = nn.Embedding(vocabulary, 1)
        # What the two cosines of forward() weigh in the logit.
        self.register_buffer("share", torch.zeros(2))

    def sums(self, ids, side, size: int | None = None):
        """Of every `size` tokens, or of all: float32 [rows, sums, dimensions]; nothing where `side` (float32 [rows, length]) is 0."""
        return added(self.vectors(ids) * (F.softplus(self.weight(ids)) * side.unsqueeze(-1)), size)

    def forward(self, input_ids, query, document):
        """float32 [rows, 2]: cosine of the query's sum with the document's, and with that of its best window.

        `query` and `document`, float32 [rows, width] and [rows, length], are 1 where a token is the query's or the document's.
        """
        asked = self.sums(input_ids[:, : query.shape[1]], query)
        asked = asked / (asked.pow(2).sum(-1, keepdim=True) + 1e-8).sqrt()
        # Windows as in _best_window, each of two halves.
        halves = self.sums(input_ids, document, WINDOW // 2)
        around = F.pad(halves, (0, 0, 1, 1))
        parts = torch.cat([halves.sum(1, keepdim=True), around[:, :-1] + around[:, 1:]], dim=1)
        norms = (parts.pow(2).sum(-1, keepdim=True) + 1e-8).sqrt()
        # A window without a token is none: how many there are depends on what is padded beside the document.
        empty = (norms < 1e-3).to(torch.float32).squeeze(2)
        cosines = torch.matmul(asked, (parts / norms).transpose(1, 2)).squeeze(1) - 2 * empty
        return torch.stack([cosines[:, 0], cosines[:, 1:].amax(1)], dim=1)


def added(values, size: int | None):
    """Sums of every `size` of them, or of all: [rows, length, …] → [rows, sums, …]."""
    if size is None:
        return values.sum(1, keepdim=True)
    filled = F.pad(values, (0, 0, 0, size - 1 - (values.shape[1] - 1) % size))
    return filled.reshape(filled.shape[0], -1, size, filled.shape[2]).sum(2)


class Box(nn.Module):
    def __init__(self, stems: list[int], dimensions: int = 96, hidden: int = 32):
        super().__init__()
        vocabulary = len(stems)
        self.register_buffer("stems", torch.tensor(stems, dtype=torch.int32))
        self.embedding = nn.Embedding(vocabulary, dimensions, padding_idx=0)
        self.weight = nn.Embedding(vocabulary, 1)
        self.convolutions = nn.ModuleList(nn.Conv1d(dimensions, dimensions, 3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(dimensions) for _ in range(2))
        self.token = nn.Sequential(nn.Linear(FEATURES, hidden), nn.ReLU(), nn.Dropout(0.1), nn.Linear(hidden, hidden))
        self.score = nn.Sequential(nn.Linear(2 * hidden + POOLED, hidden), nn.ReLU(), nn.Dropout(0.1), nn.Linear(hidden, 1))
        self.coverage = nn.Parameter(torch.tensor(10.0))
        # BM25's k1, b and mean length (in tokens, as a logarithm).
        self.saturation = nn.Parameter(torch.tensor([0.9, 0.4, 4.8]))
        with torch.no_grad():
            self.score[-1].weight.mul_(0.1)
        self.register_buffer("means", torch.tensor(KERNEL_MEANS))
        # Added by topics.py and train_reader.py when the rest has been trained.
        self.topics: Topics | None = None
        self.reader: Reader | None = None
        # Factor and addend that make a sum of such parts a logit again, so that its sigmoid says something; from fuse.py.
        self.scale = (1.0, 0.0)

    def forward(self, input_ids, attention_mask, token_type_ids):
        """int64 [rows, length] each → logits float32 [rows, 1]."""
        logits, topics, read = self.parts(input_ids, attention_mask, token_type_ids)
        if topics is not None:
            logits = logits + (topics * self.topics.share).sum(1, keepdim=True)
        if read is not None:
            logits = logits + read * self.reader.share
        return logits * self.scale[0] + self.scale[1]

    def parts(self, input_ids, attention_mask, token_type_ids):
        """What matches, topics [rows, 2] and the reader [rows, 1] say, float32; None for what is not there."""
        query, document = self.sides(input_ids, attention_mask, token_type_ids)
        width = query.shape[1]
        real = attention_mask.to(torch.float32) * (input_ids >= len(SPECIAL)).to(torch.float32)
        raw = self.embedding(input_ids) * real.unsqueeze(-1)
        context = self._in_context(raw, real)
        lengths = document.sum(1, keepdim=True)
        log_lengths = 0.2 * torch.log1p(lengths)
        strength = F.softplus(self.weight(input_ids[:, :width]))
        equal = self._same(input_ids, document, width)
        exact = equal.amax(2, keepdim=True)
        same = self._same(self.stems[input_ids], document, width)
        counts = same.sum(2, keepdim=True)
        saturated = self._saturated(counts, lengths)
        weights = strength * query.unsqueeze(-1)
        total = weights.sum(1) + 1e-6
        window, best_window = self._best_window(same, weights / total.unsqueeze(1))
        features = torch.cat(
            [
                self._match(raw, document, width),
                self._match(context, document, width),
                exact,
                same.amax(2, keepdim=True),
                torch.log1p(counts),
                saturated,
                window,
                *self._neighbours(same),
                log_lengths.unsqueeze(1).expand(-1, query.shape[1], -1),
                0.2 * strength,
            ],
            dim=2,
        )
        tokens = torch.relu(self.token(features))
        summed = (tokens * weights).sum(1)
        share = lambda feature: (feature * weights).sum(1) / total
        bm25 = share(saturated)
        pooled = torch.cat(
            [
                summed / total,
                0.1 * summed,
                share(exact),
                bm25,
                best_window,
                log_lengths,
                0.1 * total,
                0.2 * torch.log1p(query.sum(1, keepdim=True)),
            ],
            dim=1,
        )
        logits = self.score(pooled) + self.coverage * (bm25 - 0.5)
        topics = read = None
        if self.topics is not None:
            topics = self.topics(input_ids, query, document)
        if self.reader is not None:
            marks = self.marks(input_ids, equal, same, query)
            read = self.reader(input_ids, attention_mask.to(torch.float32), token_type_ids, marks, bm25, lengths)
            # Of texts unlike any that it has read it can be wildly sure.
            read = SUREST * torch.tanh(read / SUREST)
        return logits, topics, read

    def sides(self, input_ids, attention_mask, token_type_ids):
        """float32 [rows, width] and [rows, length]: 1 where a token is the query's, and where it is the document's."""
        real = attention_mask.to(torch.float32) * (input_ids >= len(SPECIAL)).to(torch.float32)
        types = token_type_ids.to(torch.float32)
        # No more columns than the longest query needs: matching is most of the work.
        width = ((1 - types) * attention_mask).sum(1).amax(0).clamp(max=MAX_QUERY).to(torch.int64)
        return (real * (1 - types))[:, :width], real * types

    def marks(self, input_ids, equal, same, query):
        """float32 [rows, length, 4]: is the token one of the query's, or a form of one; does the document have a form of it
        (a token of the query's); what does it weigh. `equal` and `same` are _same() of tokens and of stems."""
        equal, same = equal * query.unsqueeze(2), same * query.unsqueeze(2)
        asked = F.pad(same.amax(2), (0, input_ids.shape[1] - same.shape[1]))
        strength = 0.2 * F.softplus(self.weight(input_ids).squeeze(2))
        return torch.stack([equal.amax(1), same.amax(1), asked, strength], dim=2)

    def _same(self, ids, document, width):
        """[rows, query, length]: 1 where a document token is the query token."""
        return (ids[:, :width].unsqueeze(2) == ids.unsqueeze(1)).to(torch.float32) * document.unsqueeze(1)

    def _saturated(self, counts, lengths):
        k1, b, mean = self.saturation[0], self.saturation[1], torch.exp(self.saturation[2])
        norm = k1 * (1 - b + b * lengths / mean)
        return counts / (counts + norm.unsqueeze(1).clamp(min=0.05))

    def _best_window(self, same, shares):
        """Per query token: is it where most of the query is (soft); and how much of the query is there."""
        # Room behind the end, so that every window that begins in the document is there however long the
        # batch is: a score must not depend on what is padded beside it.
        inside = F.max_pool1d(F.pad(same, (WINDOW // 2, WINDOW)), WINDOW, stride=WINDOW // 2)
        coverage = (inside * shares).sum(1)
        # A softmax less one: a window without a match has no part in it.
        choice = torch.exp(16 * coverage) - 1
        choice = choice / (choice.sum(1, keepdim=True) + 1e-6)
        return (inside * choice.unsqueeze(1)).sum(2, keepdim=True), coverage.amax(1, keepdim=True)

    def _neighbours(self, same):
        """Per query token: does it stand before the next one of the query in the document, is it near it."""
        first, second = same[:, :-1], same[:, 1:]
        phrase = (first[:, :, :-1] * second[:, :, 1:]).amax(2, keepdim=True)
        near = (first * F.max_pool1d(second, NEAR, stride=1, padding=NEAR // 2)).amax(2, keepdim=True)
        return [F.pad(feature, (0, 0, 0, 1)) for feature in (phrase, near)]

    def _in_context(self, raw, real):
        """Each token with two neighbours on either side; padding stays zero, so it cannot leak in."""
        keep = real.unsqueeze(-1)
        hidden = raw
        for convolution, norm in zip(self.convolutions, self.norms):
            # As one product, which can be quantised like any other, whose thirds are then moved and added.
            size = len(convolution.weight)
            before, own, after = F.linear(hidden, convolution.weight.permute(2, 0, 1).reshape(3 * size, size)).split(size, 2)
            moved = own + F.pad(before[:, :-1], (0, 0, 1, 0)) + F.pad(after[:, 1:], (0, 0, 0, 1)) + convolution.bias
            hidden = norm(hidden + F.gelu(moved)) * keep
        return hidden

    def _match(self, vectors, document, width):
        """Per query token: how many document tokens are how similar (log), and the best similarity."""
        unit = vectors / (vectors.pow(2).sum(-1, keepdim=True) + 1e-8).sqrt()
        similarity = torch.matmul(unit[:, :width], unit.transpose(1, 2))
        mask = document.unsqueeze(1)
        # All kernels at once, [rows, query, kernels, length]; the product with the mask is the sum over the document.
        apart = similarity.unsqueeze(2) - self.means.view(1, 1, -1, 1)
        kernels = torch.exp(apart * apart * (-0.5 / KERNEL_WIDTH**2)).flatten(1, 2)
        counts = torch.matmul(kernels, document.unsqueeze(2)).reshape(similarity.shape[0], -1, len(KERNEL_MEANS))
        best = ((similarity + 1) * mask).amax(2, keepdim=True) - 1
        return torch.cat([torch.log1p(counts), best], dim=2)
