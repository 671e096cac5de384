"""What changes something: operations in place, state kept in the module, hooks and replaced methods."""

from __future__ import annotations

from grammar import rule
from program_builder import Builder

IN_PLACE = (
    "F.relu({x}, inplace=True)", "torch.relu_({x})", "{x}.relu_()", "{x}.tanh_()", "{x}.sigmoid_()", "{x}.add_(1)",
    "{x}.mul_(0.5)", "{x}.clamp_(-0.5, 0.5)", "{x}.clamp_(min=0)", "{x}.neg_()", "{x}.div_(2)", "{x}.sub_(0.3)",
    "{x} += 1", "{x} *= 0.5", "{x} -= 0.25", "{x} /= 3", "torch.tanh_({x})", "F.elu({x}, inplace=True)",
    "F.leaky_relu({x}, 0.1, inplace=True)", "F.hardtanh({x}, inplace=True)", "F.silu({x}, inplace=True)",
    "{x}.add_({x})", "{x}.mul_(torch.sigmoid({x}))", "{x}.abs_()", "F.dropout({x}, 0.5, False, inplace=True)",
    "{x}.copy_(torch.tanh({x}))", "torch.mul({x}, 0.5, out={x})", "{x}.transpose(0, 1).add_(1)", "{x}.data.mul_(0.5)",
    "{x}.exp_().clamp_(max=2)", "F.relu6({x}, True)", "torch.clamp_({x}, -1, 1)",
)  # fmt: skip
PARTS = (
    "{x}[:, 0] = 0", "{x}[:, 0] += 1", "{x}[..., :2] *= 0.5", "{x}[:, -1].add_(1)", "{x}[..., 1:].relu_()",
    "{x}[..., 0] = {x}[..., -1]", "{x}[:, 0].zero_()", "{x}[:, :1].copy_({x}[:, -1:])", "{x}.select(-1, 0).mul_(2)",
    "{x}.narrow(-1, 0, 2).add_(0.5)", "{x}.chunk(2, -1)[0].tanh_()", "{x}.view(-1)[0] = 1",
    "{x}.flatten()[:2].fill_(0.5)",
    "{x}.unbind(-1)[0].mul_(3)", "{x}[..., :2], {x}[..., -1:] = 0.25, 0.5", "{x}[{x} < 0] = 0", "{x}.T.mul_(0.5)",
    "{x}.masked_fill_({x} > 1, 1.0)", "{x}[0].mul_(2)", "{x}.detach().mul_(2)", "{x}.fill_(0.5)",
)  # fmt: skip


@rule("effect", 6, supported=False)
def in_place(b: Builder) -> bool:
    """An operation in place whose result nobody takes: every later reader must see it."""
    x = b.pick("... *")
    if x is None or x in b.program.inputs:
        return False
    form = b.choices.of(IN_PLACE).format(x=x)
    if b.choices.chance(30):
        alias = b.fresh("alias")
        return b.emit(f"{alias} = {x}\n{form}", alias, changes=[x])
    return b.emit(form, changes=[x])


@rule("effect", 5, supported=False)
def in_place_of_a_part(b: Builder) -> bool:
    """The same through a slice or a view."""
    x = b.pick("... *")
    if x is None or x in b.program.inputs:
        return False
    form = b.choices.of(PARTS).format(x=x)
    return b.emit(form, changes=[x])


@rule("effect", 4, supported=False)
def in_place_of_a_view(b: Builder) -> bool:
    """A view by name, changed; then the tensor itself is read, or the other way round."""
    x = b.pick("... *")
    if x is None or x in b.program.inputs:
        return False
    views = (
        "{x}.view({x}.shape)", "{x}[...]", "{x}.transpose(0, 1)", "{x}.flatten(1)", "{x}[:, :1]", "{x}.unsqueeze(1)",
        "{x}.reshape({x}.size(0), -1)", "{x}.expand_as({x})", "{x}.chunk(2, -1)[1]", "{x}.contiguous()", "{x}.detach()",
        "{x}.to(torch.float32)", "nn.Identity()({x})", "{x}.squeeze()", "F.dropout({x}, 0.5, training=False)",
    )  # fmt: skip
    v = b.fresh("view")
    view = b.choices.of(views).format(x=x)
    changes = (
        "{v}.add_(1)",
        "{v} += 1",
        "{v}.relu_()",
        "{v}.mul_(-0.5)",
        "F.relu({v}, inplace=True)",
        "{v}[0] = 0.5",
    )
    changed = v if b.choices.chance(70) else x
    return b.emit(f"{v} = {view}\n{b.choices.of(changes).format(v=changed)}", v, changes=[x])


@rule("effect", 1, supported=False)
def in_place_of_an_input(b: Builder) -> bool:
    """Arguments of the caller, overwritten."""
    x = b.choices.of([n for n in b.values if n in b.program.inputs])
    return b.emit(
        b.choices.of(("{x}.mul_(0.5)", "{x} += 1", "{x}[..., :1] = 0", "F.relu({x}, inplace=True)")).format(
            x=x
        ),
        changes=[x],
    )


@rule("effect", 2, supported=False)
def in_place_layer(b: Builder) -> bool:
    """nn.ReLU(inplace=True) whose result nobody takes, or takes beside the old name."""
    x = b.pick("... *")
    if x is None or x in b.program.inputs:
        return False
    layers = (
        "nn.ReLU(inplace=True)",
        "nn.ELU(inplace=True)",
        "nn.Hardtanh(-0.5, 0.5, inplace=True)",
        "nn.Dropout(0.2, inplace=True)",
        "nn.SiLU(True)",
    )
    name, y = b.layer(b.choices.of(layers), "act"), b.fresh()
    if b.choices.chance(50):
        return b.emit(f"self.{name}({x})", changes=[x])
    return b.emit(f"{y} = self.{name}({x})", y, changes=[x])


@rule("effect", 3, supported=False)
def state_in_the_module(b: Builder) -> bool:
    """State that the module keeps from call to call: a stream's state, or refused by name; never dropped."""
    x = b.pick("B T s")
    if x is None:
        return False
    features, width, y = b.last(x), 4, b.fresh()
    kind = b.choices.number(0, 7)
    if kind <= 2:
        cell = b.choices.of(("GRU", "RNN", "LSTM"))
        r, s = b.layer(f"nn.{cell}({features}, {width}, batch_first=True)", "rnn"), b.fresh("state")
        b.init(f"self.{s} = None", s)
        if kind == 2 and cell != "LSTM":
            zeros = f"torch.zeros(1, {x}.size(0), {width})"
            return b.emit(
                f"{y}, self.{s} = self.{r}({x}, {zeros} if self.{s} is None else self.{s})",
                y,
            )
        return b.emit(f"{y}, self.{s} = self.{r}({x}, self.{s})", y)
    s = b.fresh("state")
    if kind == 3:
        b.init(f"self.{s} = 0", s)
        return b.emit(f"self.{s} += 1\n{y} = {x} * 0.5", y)
    if kind == 4:
        b.init(f"self.{s} = []", s)
        return b.emit(f"self.{s}.append({x})\n{y} = self.{s}[-1] * 0.5", y)
    if kind == 5:
        b.init(f"self.{s} = {{}}", s)
        return b.emit(f"self.{s}['last'] = torch.tanh({x})\n{y} = self.{s}['last'] + {x}", y)
    b.init(f"self.register_buffer('{s}', torch.ones({features}))", s)
    if kind == 6:
        return b.emit(f"{y} = {x} + self.{s}\nself.{s}.copy_(torch.tanh({y}[0, -1]))", y)
    return b.emit(f"{y} = {x} * self.{s}\nself.{s} = 0.9 * self.{s} + 0.1 * {x}.mean((0, 1))", y)


@rule("effect", 3, supported=False)
def hooked_layer(b: Builder) -> bool:
    """Hooks of a layer, or a forward of its own on the instance: honoured or refused."""
    x = b.pick("... s")
    if x is None:
        return False
    n, y = b.layer(f"nn.Linear({b.last(x)}, {b.width()})", "linear"), b.fresh()
    hooks = (
        "self.{n}.register_forward_hook(lambda m, args, out: out * 2)",
        "self.{n}.register_forward_pre_hook(lambda m, args: (args[0] * 0.5,))",
        "self.{n}.forward = lambda v, f=self.{n}.forward: f(v).tanh()",
        "self.{n}.register_forward_hook(lambda m, args, out: None)",
        "self.{n}.register_forward_hook(lambda m, args, out: torch.relu(out))",
        "self.{n}.register_forward_hook(lambda m, args, out: out.add_(1) and None)",
    )
    b.init(b.choices.of(hooks).format(n=n))
    return b.emit(f"{y} = self.{n}({x})", y)
