"""Causal convolution as products with Toeplitz matrices, a matrix for each channel: as many operations as half the row is long,
for each token and channel, all of them on matrix units in bf16, and next to nothing moved.

A row is cut in blocks of BLOCK tokens. A block of outputs is one product: what came before, back to the filter's last lag, times
a strip [BLOCK, so many tokens] of taps, the same strip for every block but for how much of it is used.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 128


class ToeplitzConvolution(torch.autograd.Function):
    """u: [channels, batch, length], taps: [channels, lags], at most `length` of them. Sums are kept in f32 within a product."""

    @staticmethod
    def forward(ctx, u: Tensor, taps: Tensor) -> Tensor:
        ctx.save_for_backward(u, taps)
        u, length = whole_blocks(u), u.shape[-1]
        table = lag_table(taps.to(u.dtype), u.shape[-1])
        reach = table.shape[-1] - BLOCK + 1
        # [channels, BLOCK, reach]: taps[reach - BLOCK + row - column], the last column the block's own last token.
        strip = all_windows(table.flip(-1), reach)
        y = torch.empty_like(u)
        for end in range(BLOCK, u.shape[-1] + 1, BLOCK):
            back = min(end, reach)
            torch.bmm(u[..., end - back:end], strip[..., reach - back:].mT, out=y[..., end - BLOCK:end])
        return y[..., :length]

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple[Tensor, Tensor]:
        u, taps = ctx.saved_tensors
        length = u.shape[-1]
        u, dy = whole_blocks(u), whole_blocks(dy)
        table = lag_table(taps.to(u.dtype), u.shape[-1])
        reach = table.shape[-1] - BLOCK + 1
        # [channels, BLOCK, reach]: taps[column - row], what each input does to all that follows.
        strip = all_windows(table, reach)
        du = torch.empty_like(u)
        for start in range(0, u.shape[-1], BLOCK):
            on = min(u.shape[-1] - start, reach)
            torch.bmm(dy[..., start:start + on], strip[..., :on].mT, out=du[..., start:start + BLOCK])
        return du[..., :length], taps_gradient(u, dy, reach)[:, :taps.shape[-1]].to(taps.dtype)


def whole_blocks(u: Tensor) -> Tensor:
    return F.pad(u, (0, -u.shape[-1] % BLOCK)).contiguous()


def lag_table(taps: Tensor, length: int) -> Tensor:
    """[channels, BLOCK - 1 + reach]: taps of the lags from 1 - BLOCK on, 0 where there are none. `reach`: how many tokens, in
    whole blocks, a block of outputs looks back on, itself among them."""
    reach = min(length, (-(-(taps.shape[-1] - 1) // BLOCK) + 1) * BLOCK)
    return F.pad(taps, (BLOCK - 1, reach - taps.shape[-1]))


def all_windows(table: Tensor, reach: int) -> Tensor:
    """[channels, BLOCK, reach], each row a window of the table that begins one entry before the last row's."""
    return table.unfold(-1, reach, 1).flip(1)


def taps_gradient(u: Tensor, dy: Tensor, reach: int) -> Tensor:
    """[channels, reach] in f32 at least: for blocks so many apart one product [BLOCK, BLOCK] over all pairs of them, whose
    diagonals are the lags."""
    channels, batch, length = u.shape
    # Blocks first, so that the blocks of all rows from one on are one matrix.
    u, dy = (x.view(channels, batch, -1, BLOCK).transpose(1, 2).reshape(channels, -1, BLOCK) for x in (u, dy))
    products = u.new_empty(reach // BLOCK, channels, BLOCK, BLOCK)
    for apart, product in enumerate(products):
        skipped = apart * batch
        torch.bmm(dy[:, skipped:].mT, u[:, :length // BLOCK * batch - skipped], out=product)
    diagonals = diagonal_sums(products.flatten(0, 1), torch.promote_types(u.dtype, torch.float32))
    diagonals = F.pad(diagonals, (0, 1)).view(-1, channels, 2, BLOCK)
    # The second half of what one distance gives has the lags of the first half of what the next gives.
    sums = F.pad(diagonals[:, :, 0], (0, 0, 0, 0, 0, 1)) + F.pad(diagonals[:, :, 1], (0, 0, 0, 0, 1, 0))
    return sums.transpose(0, 1).flatten(1)[:, BLOCK - 1:]


def diagonal_sums(matrices: Tensor, wide: torch.dtype) -> Tensor:
    """[number, n, n] to [number, 2n - 1]: the sums of all entries whose row minus column is 1 - n, 2 - n, ..., n - 1."""
    number, n, _ = matrices.shape
    # Rows twice as long, read as if they were one shorter, are each shifted by one against the last.
    shifted = F.pad(matrices.flip(-1), (0, n)).view(number, -1)[:, :n * (2 * n - 1)].view(number, n, 2 * n - 1)
    return shifted.sum(1, dtype=wide)
