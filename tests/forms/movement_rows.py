"""Forms of data movement on y [B, T, 6]: each gives the same integers in a built library, in groups of one model."""

from __future__ import annotations

MOVEMENT = (
    "y.permute(1, 0, 2)", "torch.permute(y, (2, 0, 1))", "y.transpose(0, 2)", "torch.transpose(y, 1, 2)", "y[0].t()",
    "torch.t(y[:, 0])", "y.swapaxes(1, 2)", "torch.swapaxes(y, 0, 1)", "y.swapdims(1, 2)", "y.movedim(1, 0)",
    "y.movedim((0, 1), (1, 2))", "torch.movedim(y, 0, -1)", "y.moveaxis(0, 1)", "y.moveaxis((0, 2), (2, 0))", "y.mT",
    "y.T", "y[0].T", "y.mH", "y.data", "y.detach()",
    "y.view(y.size(0), y.size(1), 2, 3)", "y.view_as(x)", "y.reshape_as(x)", "y.reshape(y.size(0), -1)", "y.flatten(1)",
    "y.flatten()", "y.flatten(0, 1)", "y.unflatten(2, (2, 3))", "torch.unflatten(y, 2, (3, 2))", "y.unsqueeze(0)",
    "y.unsqueeze(-1)", "y[:, :1].squeeze(1)", "y.unsqueeze(1).squeeze((1,))", "y.view(-1, y.size(1), 6)",
    "y.view(y.shape[:2] + (2, 3))", "y.reshape(-1, y.size(-1) // 2)", "y.transpose(1, 2).reshape(y.size(0), -1, 2)",
    "y.swapaxes(0, 1).contiguous().view(-1, 6)", "y.transpose(1, 2).contiguous().view(y.size(0), -1)",
    "y.select(1, 0)", "y.select(2, -1)", "y.narrow(2, 1, 3)", "torch.narrow(y, 2, -4, 2)", "y.chunk(3, -1)[1]",
    "y.chunk(4, -1)[-1]", "y.split(2, -1)[2]", "y.split(4, 2)[1]", "y.split([1, 2, 3], -1)[1]",
    "torch.split(y, [2, 4], dim=2)[0]", "y.unbind(2)[3]", "y.unbind(-1)[0]", "y.tensor_split(4, -1)[1]",
    "y.tensor_split((1, 3), -1)[1]", "torch.tensor_split(y, 2, dim=2)[1]", "y.tensor_split((2, 8, 9), -1)[0]",
    "y[:, :1].expand(-1, 4, -1)", "y[:, -1:].expand_as(x)", "y[:1].expand(y.size(0), -1, -1)", "y.expand(2, *y.shape)",
    "y[:, :1].expand(-1, y.size(1), -1)", "y.repeat(1, 2, 1)", "y.repeat(1, 1, 3)", "y.repeat(2, 1, 1, 1)",
    "y.flip(1)", "y.flip(0, 2)", "torch.flip(y, [2])", "y[..., 1]", "y[..., ::2]", "y[:, ::2]", "y[:, None]",
    "y[:, -1, 2:4]", "y[...]", "y[None, ..., 0]", "y[:, :, -6:]", "y[:, :, -20:]", "y[:, :, -20:-1]", "y[:, -30:]",
    "y[:, :50]", "y[:, y.size(1) - 1]", "torch.cat([y, x @ self.linear.weight], 1)", "torch.stack([y, y], 1)",
    "torch.stack([y, y], -1)", "F.pad(y, (1, 2))", "F.pad(y, (0, 0, 2, 0))", "F.pad(y, (1, 0, 0, 1, 0, 0))",
    "y + torch.zeros(y.size(0), y.size(1), 6)", "torch.cat((y, torch.zeros_like(y)), -1)",
    "torch.cat((y, torch.zeros(y.size(0), y.size(1), 2)), 2)",
    "torch.cat((torch.ones(y.size(0), y.size(1), 1), y), -1)",
    "torch.cat((y.new_full((y.size(0), 1, 6), 0.5), y), 1)", "y * torch.ones_like(y)",
)  # fmt: skip
