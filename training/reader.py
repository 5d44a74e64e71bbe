"""The reader: a small transformer that reads query and document together, where the matcher only compares words.

Two neighbouring tokens are one position, which halves the work and quarters that of attention. It is told what
the matcher knows of each token already (does it occur on the other side, how much does it weigh), so it need not
find out by itself, and gives what it would add to BM25's sum. Positions are told apart by their distance alone
(Shaw et al. 2018; Raffel et al. 2020), so that texts may be longer than those it was trained on.
"""

import torch
from torch import nn
from torch.nn import functional as F

HEADS = 3
# Distances beyond this, in positions, are alike.
FAR = 64
# What is known of each token beside itself: see marks().
MARKS = 4
LEVELS = 7


def layer(x, bias, rows: int, norms, query, key_value, out, up, down):
    """One layer (pre-norm, queries and keys normalised): x [batch, length, width], bias [batch, heads, length, length].

    `rows`: positions whose output is wanted, from the first; 0 for all.
    """
    batch, length = x.shape[:2]
    width = int(out.shape[0])
    head = width // HEADS
    cast = lambda weight: weight.to(x.dtype)
    norm = lambda value, scale: normalised(value, cast(scale))
    before, second, for_query, for_key = norms
    known = norm(x, before)
    asking = known
    if rows:
        x, bias, asking = x[:, :rows], bias[:, :, :rows], known[:, :rows]
    q = norm(F.linear(asking, cast(query)).view(batch, -1, HEADS, head), for_query).transpose(1, 2)
    k, v = F.linear(known, cast(key_value)).view(batch, length, 2 * HEADS, head).split(HEADS, 2)
    k = norm(k, for_key).permute(0, 2, 3, 1)
    attention = torch.softmax(torch.matmul(q, k) + bias, -1)
    mixed = torch.matmul(attention, v.transpose(1, 2)).transpose(1, 2).reshape(batch, -1, width)
    x = x + F.linear(mixed, cast(out))
    return x + F.linear(torch.relu(F.linear(norm(x, second), cast(up))), cast(down))


def normalised(value, scale):
    # Zeros, though they change nothing: onnxruntime 1.30 dies of a LayerNormalization without them behind an Add.
    return F.layer_norm(value, (int(scale.shape[0]),), scale, torch.zeros_like(scale))


class Layer(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        matrix = lambda rows, columns: nn.Parameter(torch.randn(rows, columns) * columns**-0.5)
        self.query, self.key_value = matrix(width, width), matrix(2 * width, width)
        self.up = matrix(hidden, width)
        # A layer begins as nothing.
        self.out, self.down = nn.Parameter(torch.zeros(width, width)), nn.Parameter(torch.zeros(width, hidden))
        self.norms = nn.ParameterList([torch.ones(width), torch.ones(width), torch.ones(width // HEADS), torch.ones(width // HEADS)])
        # q·k is divided by the root of their length, shared between both.
        with torch.no_grad():
            self.norms[2].mul_((width // HEADS) ** -0.25)
            self.norms[3].mul_((width // HEADS) ** -0.25)

    def matrices(self) -> list[nn.Parameter]:
        return [self.query, self.key_value, self.out, self.up, self.down]

    def forward(self, x, bias, rows: int = 0):
        return layer(x, bias, rows, tuple(self.norms), *self.matrices())


class Rounded(torch.autograd.Function):
    """Rows rounded to 15 levels with a scale each, as export.py stores them; the gradient passes as if they were not."""

    @staticmethod
    def forward(_context, weight):
        rows, scale = four_bit(weight)
        return rows * scale

    @staticmethod
    def backward(_context, gradient):
        return gradient


def four_bit(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Whole numbers from -7 to 7, float32 like `weight`, and their scales [rows, 1]."""
    scale = weight.abs().amax(1, keepdim=True).clamp_min(1e-8) / LEVELS
    return (weight / scale).round(), scale


class Reader(nn.Module):
    def __init__(self, vocabulary: int, vectors: int = 128, width: int = 192, hidden: int = 384, layers: int = 4):
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(vocabulary, vectors) * 0.5)
        # Takes the place of the vectors in the exported file.
        self.stored: nn.Module | None = None
        self.types = nn.Parameter(torch.zeros(2, vectors))
        self.marks = nn.Parameter(torch.zeros(MARKS, vectors))
        self.join = nn.Parameter(torch.randn(width, 2 * vectors) * (2 * vectors) ** -0.5)
        self.distances = nn.Parameter(torch.zeros(2 * FAR + 1, HEADS))
        # Between a position of the query and one of the document distance means little.
        self.across = nn.Parameter(torch.zeros(HEADS))
        self.layers = nn.ModuleList(Layer(width, hidden) for _ in range(layers))
        self.norm = nn.Parameter(torch.ones(width))
        self.hidden = nn.Linear(width + 2, width // 2)
        self.last = nn.Linear(width // 2, 1)
        with torch.no_grad():
            self.last.weight.zero_(), self.last.bias.zero_()
        self.coverage = nn.Parameter(torch.tensor(10.0))
        # What the logit weighs beside the matcher's.
        self.register_buffer("share", torch.tensor(0.0))

    def lookup(self, ids):
        """float32 [rows, length, vectors]."""
        if self.stored is not None:
            return self.stored(ids)
        return F.embedding(ids, Rounded.apply(self.vectors))

    def encode(self, ids, mask, types, marks, dtype=torch.float32, rows: int = 1):
        """[batch, positions or `rows`, width]; ids and types int64 [batch, length], mask float32, marks float32 [batch, length, MARKS]."""
        side = types.to(torch.float32).unsqueeze(-1)
        x = self.lookup(ids) + self.types[0] + side * (self.types[1] - self.types[0]) + torch.matmul(marks, self.marks)
        positions = (ids.shape[1] + 1) // 2
        # One more than there are, so that an odd length has a second half of its last position.
        x = F.pad(x * mask.unsqueeze(-1), (0, 0, 0, 1))[:, : 2 * positions]
        x = F.linear(x.reshape(x.shape[0], positions, -1).to(dtype), self.join.to(dtype))
        bias = self.bias(mask[:, ::2], types[:, ::2]).to(dtype)
        for number, each in enumerate(self.layers):
            x = each(x, bias, rows if number == len(self.layers) - 1 else 0)
        return normalised(x, self.norm.to(dtype))

    def bias(self, mask, types):
        """What is added before the softmax, float32 [batch, heads, positions, positions]."""
        place = torch.arange(mask.shape[1], device=mask.device)
        apart = (place.unsqueeze(0) - place.unsqueeze(1)).clamp(-FAR, FAR) + FAR
        near = F.embedding(apart, self.distances).permute(2, 0, 1).unsqueeze(0)
        same_side = (types.unsqueeze(1) == types.unsqueeze(2)).unsqueeze(1)
        return torch.where(same_side, near, self.across.view(1, -1, 1, 1)) + (mask - 1)[:, None, None] * 1e4

    def forward(self, ids, mask, types, marks, bm25, lengths, dtype=torch.float32):
        """Logits float32 [batch, 1]; bm25, the matcher's share of BM25's sum, and lengths, of the document, [batch, 1]."""
        first = self.encode(ids, mask, types, marks, dtype)[:, 0].to(torch.float32)
        told = torch.cat([first, bm25, 0.2 * torch.log1p(lengths)], dim=1)
        return self.last(torch.relu(self.hidden(told))) + self.coverage * (bm25 - 0.5)
