"""Functions, methods, arithmetic, reductions, and control by what is known of shapes."""

from __future__ import annotations

from grammar import rule
from program_builder import Builder

ACTIVATIONS = (
    "torch.relu({x})", "torch.tanh({x})", "torch.sigmoid({x})", "{x}.tanh()", "{x}.sigmoid()", "{x}.relu()",
    "F.gelu({x})", "F.silu({x})", "F.softplus({x})", "F.elu({x})", "F.leaky_relu({x}, 0.2)", "F.hardswish({x})",
    "F.mish({x})", "{x}.abs()", "F.relu6({x})", "F.hardtanh({x})", "{x}.clamp(-0.5, 1.0)", "{x}.clamp(min=0)",
    "torch.clamp({x}, max=0.5)", "torch.sin({x})", "torch.cos({x})", "torch.erf({x})", "{x}.square()",
    "F.softsign({x})",
    "F.logsigmoid({x})", "F.selu({x})", "F.celu({x})", "torch.exp(-{x}.abs())", "{x}.softmax(-1)",
    "F.log_softmax({x}, dim=-1)", "torch.softmax({x}, -1)", "F.hardsigmoid({x})", "{x} * torch.sigmoid({x})",
    "F.dropout({x}, 0.5, training=self.training)", "F.relu({x})", "F.tanh({x})", "F.sigmoid({x})",
)  # fmt: skip
UNSUPPORTED = (
    "{x}.sqrt()", "torch.where({x} > 0, {x}, -{x})", "torch.cumsum({x}, -1)", "{x}.pow(3)", "torch.roll({x}, 1, -1)",
    "{x}.sort(-1)[0]", "torch.einsum('...i->...i', {x})", "{x} / {x}.norm(dim=-1, keepdim=True)", "{x}.std(-1)",
    "torch.lerp({x}, -{x}, 0.3)", "F.normalize({x}, dim=-1)", "torch.floor({x})", "{x}.sign()",
    "torch.log1p({x}.abs())",
    "torch.maximum({x}, -{x})", "{x} * ({x} > 0)", "{x}.index_select(-1, torch.tensor([0, 1]))", "{x}[..., [0, 1]]",
    "torch.addcmul({x}, {x}, {x}, value=0.5)", "{x} ** 2", "torch.rsqrt({x}.abs() + 1)", "F.glu({x}, -1)", "{x} // 1",
    "torch.nan_to_num({x})", "{x}.round()", "F.threshold({x}, 0.1, 0.0)", "{x}.half().float()", "{x}.min(-1)[0]",
    "{x}.prod(-1)", "{x}.flatten(1).tolist() and {x}", "torch.atan({x})", "{x}.cumsum(0)",
)  # fmt: skip


@rule("value", 8)
def activation(b: Builder) -> bool:
    x = b.pick("... *")
    if x is None:
        return False
    y = x if b.choices.chance(25) and x not in b.program.inputs else b.fresh()
    return b.emit(f"{y} = {b.choices.of(ACTIVATIONS).format(x=x)}", y)


@rule("value", 2, supported=False)
def unusual_function(b: Builder) -> bool:
    """A function that may have no integer version: refused then, by name and line."""
    x = b.pick("... *")
    if x is None:
        return False
    y = b.fresh()
    return b.emit(f"{y} = {b.choices.of(UNSUPPORTED).format(x=x)}", y)


@rule("value", 4)
def arithmetic_with_numbers(b: Builder) -> bool:
    x = b.pick("... *")
    if x is None:
        return False
    forms = (
        "{x} + 1", "{x} * 0.5", "1 - {x}", "-{x}", "{x} / 3", "2 * {x} - 1", "torch.sub({x}, 0.5, alpha=2)",
        "{x}.mul(-0.7)", "torch.add({x}, 0.25)", "{x} * {x}", "{x}.add(1).div(2)", "{x} / math.sqrt({x}.size(-1))",
        "torch.neg({x})", "0.3 + {x} * 1.7",
    )  # fmt: skip
    y = b.fresh()
    return b.emit(f"{y} = {b.choices.of(forms).format(x=x)}", y)


@rule("value", 2)
def arithmetic_with_parameters(b: Builder) -> bool:
    x = b.pick("... s")
    if x is None:
        return False
    features, y = b.last(x), b.fresh()
    kind = b.choices.of(("nn.Parameter(torch.randn({}))", "nn.Parameter(torch.randn(1))"))
    p = b.layer(kind.format(features), "scale")
    forms = (
        "{x} + self.{p}",
        "{x} * self.{p}",
        "self.{p} - {x}",
        "{x} + self.{p} * 0.5",
        "{x} * torch.tanh(self.{p})",
    )
    return b.emit(f"{y} = {b.choices.of(forms).format(x=x, p=p)}", y)


@rule("value", 5)
def two_values(b: Builder) -> bool:
    """Sums, products, highways of two values of one shape."""
    x = b.pick("... *")
    other = b.like(x) if x is not None else None
    if x is None or other is None:
        return False
    forms = (
        "{x} + {z}", "{x} * {z}", "{x} - {z}", "torch.add({x}, {z})", "{x}.mul({z})", "{x} + 0.5 * {z}",
        "torch.sigmoid({x}) * {z}", "torch.sigmoid({x}) * {z} + (1 - torch.sigmoid({x})) * {x}",
        "torch.add({x}, {z}, alpha=0.5)", "({x} + {z}) / 2", "torch.stack(({x}, {z})).mean(0)",
    )  # fmt: skip
    y = b.fresh()
    return b.emit(f"{y} = {b.choices.of(forms).format(x=x, z=other)}", y)


@rule("value", 2)
def broadcast(b: Builder) -> bool:
    """A vector per sequence, with every step of one."""
    x, z = b.pick("B T s"), b.pick("B s")
    if x is None or z is None or b.last(x) != b.last(z):
        return False
    y = b.fresh()
    forms = ("{x} + {z}.unsqueeze(1)", "{x} * {z}[:, None]", "{z}.unsqueeze(1).expand_as({x}) + {x}")
    return b.emit(f"{y} = {b.choices.of(forms).format(x=x, z=z)}", y)


@rule("value", 4)
def concatenation(b: Builder) -> bool:
    x = b.pick("... s")
    other = b.like(x) if x is not None else None
    if x is None:
        return False
    z = other or x
    forms = (
        "torch.cat(({x}, {z}), dim=-1)", "torch.cat([{x}, {z}], -1)", "torch.cat(({x}, {x}.tanh()), -1)",
        "torch.cat(({x}[..., :2], {z}), -1)", "torch.stack(({x}, {z}), -1).flatten(-2)", "torch.hstack(({x}, {z}))",
        "torch.cat(({x}, {z}), 1)",
    )  # fmt: skip
    y = b.fresh()
    return b.emit(f"{y} = {b.choices.of(forms).format(x=x, z=z)}", y)


@rule("value", 4)
def reduction(b: Builder) -> bool:
    x = b.pick("B T s", "... s")
    if x is None:
        return False
    forms = (
        "{x}.mean(1)", "{x}.mean(dim=1)", "{x}.amax(1)", "{x}.max(1)[0]", "{x}.mean(-1)", "{x}.sum(-1) * 0.1",
        "{x}.mean(1, keepdim=True)", "torch.mean({x}, 1)", "{x}.max(dim=1).values", "{x}.mean((0, 1))[None]",
        "torch.max({x}, dim=-1, keepdim=True)[0]", "{x}.sum(1) / {x}.size(1)",
    )  # fmt: skip
    y = b.fresh()
    return b.emit(f"{y} = {b.choices.of(forms).format(x=x)}", y)


@rule("value", 2)
def zero_padding(b: Builder) -> bool:
    x = b.pick("B T s")
    if x is None:
        return False
    forms = (
        "F.pad({x}, (0, 2))", "F.pad({x}, (0, 0, 1, 0))", "F.pad({x}, (1, 1, 0, 0))",
        "torch.cat((torch.zeros({x}.size(0), 1, {x}.size(2)), {x}), 1)", "torch.cat(({x}, torch.zeros_like({x})), -1)",
        "torch.cat(({x}.new_zeros({x}.size(0), 1, {x}.size(2)), {x}[:, :-1]), 1)", "F.pad({x}, (0, 0, 2, 0))[:, :-2]",
    )  # fmt: skip
    y = b.fresh()
    return b.emit(f"{y} = {b.choices.of(forms).format(x=x)}", y)


@rule("value", 3)
def control_by_rank(b: Builder) -> bool:
    """Branches on what cannot change between calls: ranks, modes, None, attributes of the module."""
    x = b.pick("B T s", "B s")
    if x is None:
        return False
    flag = b.layer(b.choices.of(("True", "3", "'tanh'")), "flag")
    y = b.fresh()
    forms = (
        "if {x}.dim() == 3:\n    {y} = {x}.tanh()\nelse:\n    {y} = {x}.sigmoid()",
        "{y} = {x} if self.training else {x} * 0.5",
        "if self.{flag}:\n    {y} = torch.tanh({x})\nelse:\n    {y} = {x}",
        "assert {x}.size(-1) == {size}, 'features'\n{y} = {x} * 2",
        "if {x}.shape[-1] != {size}:\n    raise ValueError('features')\n{y} = {x} + 1",
        "{y} = {x}\nfor scale in (0.5, 2.0):\n    {y} = torch.tanh({y} * scale)",
        "{y} = [f({x}) for f in (torch.tanh, torch.sigmoid)]\n{y} = {y}[0] + {y}[1]",
        "{y} = {x}.float() if {x}.dtype == torch.float32 else {x}",
        "with torch.no_grad():\n    {y} = torch.tanh({x})",
        "{y} = (lambda v: v * torch.sigmoid(v))({x})",
    )
    return b.emit(b.choices.of(forms).format(x=x, y=y, flag=flag, size=b.last(x)), y)


@rule("value", 2, supported=False)
def control_by_size(b: Builder) -> bool:
    """Branches, loops and arithmetic on sizes: followed exactly, bound to the sizes, or refused by line."""
    x = b.pick("B T s")
    if x is None:
        return False
    y = b.fresh()
    forms = (
        "if {x}.size(1) > 3:\n    {y} = {x}[:, -3:]\nelse:\n    {y} = {x}",
        "{y} = {x}[:, : {x}.size(1) // 2]",
        "{y} = {x}.sum(1) / {x}.size(1)",
        "{y} = {x} if {x}.size(0) > 1 else -{x}",
        "{y} = {x} * (1.0 / {x}.shape[1])",
        "{y} = 0\nfor t in range({x}.size(1)):\n    {y} = {y} + {x}[:, t]",
        "{y} = {x}[:, max({x}.size(1) - 2, 0):]",
        "{y} = torch.stack([f.tanh() for f in {x}], 0)",
        "{y} = {x}[:, int({x}.size(1) * 0.5)]",
        "{y} = {x}.view(-1, {x}.size(-1)).view({x}.shape)",
        "n = min({x}.size(1), 4)\n{y} = {x}[:, :n]",
        "{y} = {x}[:, torch.arange({x}.size(1) - 1, -1, -1)]",
        "{y} = {x}[:, len({x}) - 1]",
        "{y} = {x} if {x}.mean() > 0 else -{x}",
        "{y} = {x} * {x}.shape.numel() ** -0.25",
    )
    return b.emit(b.choices.of(forms).format(x=x, y=y), y)
