"""Data movement: views, slices, splits, and shapes written in other ways."""

from __future__ import annotations

from grammar import rule
from program_builder import Builder


@rule("view", 5)
def reordered(b: Builder) -> bool:
    """Axes in another order, there and back."""
    x = b.pick("* * *", "* *")
    if x is None:
        return False
    three = b.matches(x, "* * *")
    forms = (
        ("{x}.transpose(1, 2)", "{x}.permute(1, 0, 2)", "{x}.permute(0, 2, 1).contiguous()", "{x}.swapaxes(0, 1)",
         "{x}.mT", "torch.movedim({x}, 1, 0)", "{x}.flip(1)", "torch.flip({x}, dims=(-1,))", "{x}.transpose(-1, -2)")
        if three
        else ("{x}.t()", "{x}.unsqueeze(1)", "{x}[:, None, :]", "{x}.flip(0)", "{x}.T", "{x}.unsqueeze(0)")
    )  # fmt: skip
    y = b.fresh()
    return b.emit(f"{y} = {b.choices.of(forms).format(x=x)}", y)


@rule("view", 5)
def slices(b: Builder) -> bool:
    x = b.pick("B T s", "* * *", "* *")
    if x is None:
        return False
    forms = (
        "{x}[..., 1:]", "{x}[:, -1]", "{x}[:, 0]", "{x}[..., :2]", "{x}[:, ::2]", "{x}[:, 1:]", "{x}[:, :-1]",
        "{x}.select(1, -1)", "{x}.narrow(-1, 0, 2)", "{x}[..., -1:]", "{x}[:, 2:4]", "{x}[..., 0]", "{x}[:, -3:]",
        "{x}[:1]", "{x}[0]", "{x}[None, -1]", "{x}[..., ::3]", "{x}[:, -1, None]", "{x}.narrow(1, 1, 2)",
    )  # fmt: skip
    y = b.fresh()
    return b.emit(f"{y} = {b.choices.of(forms).format(x=x)}", y)


@rule("view", 4)
def parts(b: Builder) -> bool:
    """chunk, split, unbind: one or all of the parts."""
    x = b.pick("... s")
    if x is None or b.last(x) < 2:
        return False
    y, z, w = b.fresh(), b.fresh(), b.last(x)
    half = w // 2
    forms = (
        f"{y}, {z} = {x}.chunk(2, -1)",
        f"{y}, {z} = torch.chunk({x}, 2, dim=-1)",
        f"{y}, {z} = {x}.split([{half}, {w - half}], -1)",
        f"{y}, {z} = torch.split({x}, {(w + 1) // 2}, dim=-1)",
        f"{y}, *rest = {x}.unbind(-1)\n{z} = rest[-1]",
        f"{y}, {z} = {x}[..., :{half}], {x}[..., {half}:]",
        f"{y}, {z} = torch.tensor_split({x}, 2, dim=-1)",
    )
    if not b.emit(b.choices.of(forms), y, z):
        return False
    if b.sizes(y) == b.sizes(z) and b.choices.chance(50):
        gated = b.fresh()
        return b.emit(f"{gated} = {y} * torch.sigmoid({z})", gated)
    return True


@rule("view", 4)
def reshaped(b: Builder) -> bool:
    x = b.pick("B T s", "* * *", "* *")
    if x is None:
        return False
    even = f"{b.last(x) // 2}, 2" if b.sizes(x)[-1].isdigit() and b.last(x) % 2 == 0 else "-1"
    forms = (
        "{x}.reshape({x}.size(0), -1)", "{x}.flatten(1)", "torch.flatten({x}, 1)", "{x}.reshape(-1, {x}.shape[-1])",
        "{x}.view({x}.size(0), {x}.size(1), " + even + ")", "{x}.flatten(0, 1)", "{x}.unsqueeze(-1)",
        "{x}.unsqueeze(1).squeeze(1)", "{x}.reshape({x}.shape)", "{x}.view({x}.shape[0] * {x}.shape[1], -1)",
        "{x}.reshape({x}.size(0) * {x}.size(1), 1, -1)", "{x}.reshape({x}.size(0), {x}.size(1) // 2, -1)",
        "{x}.unflatten(-1, (-1, 1))", "{x}.contiguous().view(-1, {x}.size(-1))", "{x}.clone()",
    )  # fmt: skip
    y = b.fresh()
    return b.emit(f"{y} = {b.choices.of(forms).format(x=x)}", y)


@rule("view", 3)
def there_and_back(b: Builder) -> bool:
    """Batch and time in one axis, a layer on that, and apart again."""
    x = b.pick("B T s")
    if x is None:
        return False
    features, width, y = b.last(x), b.width(), b.fresh()
    layer = b.choices.of(
        (f"nn.Linear({features}, {width})", f"nn.BatchNorm1d({features})", f"nn.Conv1d(1, {width}, 3)")
    )
    name = b.layer(layer, "frame")
    if "Conv1d" in layer:
        if features < 3:
            return False
        return b.emit(
            f"{y} = self.{name}({x}.reshape({x}.size(0) * {x}.size(1), 1, {features}))\n"
            f"{y} = {y}.reshape({x}.size(0), {x}.size(1), -1)",
            y,
        )
    forms = (
        f"{y} = self.{name}({x}.reshape(-1, {features})).view({x}.size(0), {x}.size(1), -1)",
        f"{y} = self.{name}({x}.flatten(0, 1)).unflatten(0, ({x}.size(0), {x}.size(1)))",
        f"b, t, f = {x}.shape\n{y} = self.{name}({x}.reshape(b * t, f)).reshape(b, t, -1)",
    )
    return b.emit(b.choices.of(forms), y)


@rule("view", 2)
def repeated(b: Builder) -> bool:
    x = b.pick("B s", "B T s")
    if x is None:
        return False
    y = b.fresh()
    flat = b.matches(x, "B s")
    forms = (
        ("{x}.unsqueeze(1).repeat(1, 4, 1)", "{x}.unsqueeze(1).expand(-1, 3, -1)", "{x}.repeat(1, 2)",
         "{x}[:, None].expand({x}.size(0), 2, {x}.size(1))")
        if flat
        else ("{x}.repeat(1, 2, 1)", "{x}.repeat(1, 1, 2)", "{x}[:, -1:].expand(-1, {x}.size(1), -1)",
              "{x}[:, -1].unsqueeze(1).repeat(1, {x}.size(1), 1)", "{x}[:, -1:].expand_as({x})")
    )  # fmt: skip
    return b.emit(f"{y} = {b.choices.of(forms).format(x=x)}", y)


@rule("view", 2)
def fixed_head(b: Builder) -> bool:
    """flatten, then a product that fixes the length."""
    x = b.pick("B T s")
    if x is None or b.program.fixed_length is None:
        return False
    y = b.fresh()
    name = b.layer(f"nn.Linear({b.program.fixed_length * b.last(x)}, {b.width()})", "head")
    view = b.choices.of(("{x}.flatten(1)", "{x}.reshape({x}.size(0), -1)", "nn.Flatten()({x})"))
    return b.emit(f"{y} = self.{name}({view.format(x=x)})", y)
