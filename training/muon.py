"""Muon (Jordan et al. 2024): momentum whose matrices are made orthogonal, for the inner matrices of a transformer."""

import torch


class Muon:
    def __init__(self, matrices: list[torch.nn.Parameter], rate: float, momentum: float = 0.95, decay: float = 0.01):
        self.rate, self.momentum, self.decay = rate, momentum, decay
        # Those of one shape are one product.
        shapes = sorted({tuple(matrix.shape) for matrix in matrices})
        self.alike = [[matrix for matrix in matrices if tuple(matrix.shape) == shape] for shape in shapes]
        self.moments = [torch.zeros(len(alike), *alike[0].shape, device=alike[0].device) for alike in self.alike]

    @torch.no_grad()
    def step(self, share: float) -> None:
        """One update at `share` of the rate; gradients are forgotten after it."""
        for alike, moment in zip(self.alike, self.moments):
            gradients = torch.stack([matrix.grad for matrix in alike])
            moment.lerp_(gradients, 1 - self.momentum)
            updates = orthogonal(gradients.lerp_(moment, self.momentum))
            rows, columns = alike[0].shape
            scale = self.rate * share * max(1.0, rows / columns) ** 0.5
            torch._foreach_mul_(alike, 1 - self.rate * share * self.decay)
            torch._foreach_add_(alike, [update.to(alike[0].dtype) for update in updates.unbind(0)], alpha=-scale)
            for matrix in alike:
                matrix.grad = None


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """The nearest orthogonal matrices, about, by five steps of Newton and Schulz: [number, rows, columns]."""
    x = matrices.to(torch.bfloat16 if matrices.is_cuda else torch.float32)
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * (square @ square)) @ x
    return x.transpose(1, 2) if tall else x
