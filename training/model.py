"""The scorer: kernel pooling over soft matches of query and document tokens.

With an hour of two CPU cores and no pretrained weights, a plain transformer does not learn to find
matches. So matching is built in (K-NRM, Xiong et al. 2017; Conv-KNRM, Dai et al. 2018; TK, Hofstätter
et al. 2020): each query token is compared with each document token, by the embeddings and by vectors
that two small convolutions have put in context; kernels count how many document tokens match how well;
logarithms saturate the counts as BM25 does; a learnt weight per token, first its IDF, says how much it
matters. The inputs are an ordinary cross-encoder's.
"""

import torch
from torch import nn
from torch.nn import functional as F

from vocabulary import SPECIAL

# Query tokens beyond this take no part in matching.
MAX_QUERY = 64
KERNEL_MEANS = (0.95, 0.8, 0.65, 0.5, 0.35, 0.2)
KERNEL_WIDTH = 0.1
FEATURES = 2 * (len(KERNEL_MEANS) + 1) + 4


class Box(nn.Module):
    def __init__(self, vocabulary: int, dimensions: int = 96, hidden: int = 32):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, dimensions, padding_idx=0)
        self.weight = nn.Embedding(vocabulary, 1)
        self.convolutions = nn.ModuleList(nn.Conv1d(dimensions, dimensions, 3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(dimensions) for _ in range(2))
        self.token = nn.Sequential(nn.Linear(FEATURES, hidden), nn.ReLU(), nn.Dropout(0.1), nn.Linear(hidden, hidden))
        # Coverage of the query by exact matches is right from the first step on.
        self.coverage = nn.Parameter(torch.tensor(6.0))
        self.score = nn.Sequential(nn.Linear(2 * hidden + 4, hidden), nn.ReLU(), nn.Dropout(0.1), nn.Linear(hidden, 1))
        self.register_buffer("means", torch.tensor(KERNEL_MEANS))

    def forward(self, input_ids, attention_mask, token_type_ids):
        """int64 [rows, length] each → logits float32 [rows, 1]."""
        real = attention_mask.to(torch.float32) * (input_ids >= len(SPECIAL)).to(torch.float32)
        types = token_type_ids.to(torch.float32)
        document = real * types
        query = (real * (1 - types))[:, :MAX_QUERY]
        # float() because the shipped file keeps the vectors in half precision; all arithmetic is float32.
        raw = self.embedding(input_ids).float() * real.unsqueeze(-1)
        context = self._in_context(raw, real)
        same = (input_ids[:, :MAX_QUERY].unsqueeze(2) == input_ids.unsqueeze(1)).to(torch.float32)
        same = same * document.unsqueeze(1)
        lengths = torch.log1p(document.sum(1, keepdim=True))
        features = torch.cat(
            [
                self._match(raw, document),
                self._match(context, document),
                torch.log1p(same.sum(2, keepdim=True)),
                same.amax(2, keepdim=True),
                (0.2 * lengths).unsqueeze(1).expand(-1, query.shape[1], -1),
                F.softplus(self.weight(input_ids[:, :MAX_QUERY])) * 0.2,
            ],
            dim=2,
        )
        weights = F.softplus(self.weight(input_ids[:, :MAX_QUERY])) * query.unsqueeze(-1)
        total = weights.sum(1) + 1e-6
        tokens = torch.relu(self.token(features))
        summed = (tokens * weights).sum(1)
        exact = (same.amax(2, keepdim=True) * weights).sum(1) / total
        pooled = torch.cat(
            [summed / total, 0.1 * summed, exact, 0.2 * lengths, 0.1 * total, 0.2 * torch.log1p(query.sum(1, keepdim=True))],
            dim=1,
        )
        return self.score(pooled) + self.coverage * (exact - 0.5)

    def _in_context(self, raw, real):
        """Each token with two neighbours on either side; padding stays zero, so it cannot leak in."""
        keep = real.unsqueeze(-1)
        hidden = raw
        for convolution, norm in zip(self.convolutions, self.norms):
            moved = convolution(hidden.transpose(1, 2)).transpose(1, 2)
            hidden = norm(hidden + F.gelu(moved)) * keep
        return hidden

    def _match(self, vectors, document):
        """Per query token: how many document tokens are how similar (log), and the best similarity."""
        unit = vectors / (vectors.pow(2).sum(-1, keepdim=True) + 1e-8).sqrt()
        similarity = torch.matmul(unit[:, :MAX_QUERY], unit.transpose(1, 2))
        mask = document.unsqueeze(1)
        kernels = [
            torch.log1p((torch.exp(-((similarity - mean) ** 2) / (2 * KERNEL_WIDTH**2)) * mask).sum(2, keepdim=True))
            for mean in self.means
        ]
        best = ((similarity + 1) * mask).amax(2, keepdim=True) - 1
        return torch.cat([*kernels, best], dim=2)
