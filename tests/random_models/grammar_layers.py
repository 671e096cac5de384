"""Layers: recurrent networks, cells, products, norms, pools, attention."""

from __future__ import annotations

from grammar import rule
from program_builder import Builder

FLAT_LAYERS = (
    "nn.Tanh()", "nn.ReLU()", "nn.GELU()", "nn.SiLU()", "nn.ELU()", "nn.LeakyReLU(0.1)", "nn.Hardswish()", "nn.PReLU()",
    "nn.Sigmoid()", "nn.ReLU6()", "nn.Hardtanh()", "nn.SELU()", "nn.Hardsigmoid()", "nn.Softsign()", "nn.Softplus()",
    "nn.LogSigmoid()", "nn.Identity()", "nn.Dropout(0.5)", "nn.Mish()", "nn.CELU()", "nn.Tanhshrink()",
    "nn.GELU(approximate='tanh')", "nn.Softmax(-1)", "nn.Hardtanh(-0.5, 0.75)", "nn.LeakyReLU(0.3, inplace=True)",
)  # fmt: skip


def _to_sequence(b: Builder) -> tuple[str, str] | None:
    """A value as [B, T, F] and how it is called: it may be a transposed view of what there is."""
    x = b.pick("B T s", "B s T", "T B s", "B t s")
    if x is None:
        return None
    if b.matches(x, "B s T") and not b.matches(x, "B T s"):
        return x, f"{x}.transpose(1, 2)"
    if b.matches(x, "T B s"):
        return x, f"{x}.transpose(0, 1)"
    return x, x


def _features(b: Builder, x: str, text: str) -> int:
    return b.last(x, 1) if text.endswith("transpose(1, 2)") else b.last(x)


@rule("layer", 10)
def recurrent(b: Builder) -> bool:
    """nn.LSTM, nn.GRU or nn.RNN over time, and the ways to read what it returns."""
    kind = b.choices.of(("LSTM", "GRU", "RNN"))
    found = _to_sequence(b)
    if found is None:
        return False
    x, text = found
    width, features = b.width(), _features(b, x, text)
    layers, both = b.choices.of((1, 1, 2)), b.choices.chance(25)
    options = ["batch_first=True"]
    if layers > 1:
        options.append(f"num_layers={layers}")
        if b.choices.chance(30):
            options.append("dropout=0.3")
    if both:
        options.append("bidirectional=True")
    if b.choices.chance(20):
        options.append("bias=False")
    out = width
    if kind == "LSTM" and width > 3 and b.choices.chance(15):
        out = width - 2
        options.append(f"proj_size={out}")
    time_major = b.choices.chance(20)
    if time_major:
        options.remove("batch_first=True")
        text = f"{text}.transpose(0, 1)"
    r = b.layer(f"nn.{kind}({', '.join(map(str, [features, width, *options]))})", "rnn")
    rows, y, h, c = layers * (2 if both else 1), b.fresh(), b.fresh("h"), b.fresh("c")
    zeros = f"torch.zeros({rows}, {x}.size({b.sizes(x).index('B')}), {{}})"
    start = ""
    if b.choices.chance(20):
        if kind == "LSTM":
            start = f", ({zeros.format(out)}, {zeros.format(width)})"
        else:
            start = f", {zeros.format(width)}"
    call = f"self.{r}({text}{start})"
    form = b.choices.number(0, 4)
    if form == 0:
        return b.emit(f"{y}, _ = {call}", y)
    if form == 1:
        return b.emit(f"{y} = {call}[0]", y)
    if form == 2 and kind == "LSTM":
        return b.emit(f"{y}, ({h}, {c}) = {call}", y, h, *([c] if b.choices.chance(50) else []))
    if form == 2:
        return b.emit(f"{y}, {h} = {call}", y, h)
    last = b.choices.of(("[-1]", "[0]", ".squeeze(0)", ".transpose(0, 1).flatten(1)"))
    if form == 3:
        return b.emit(f"{h} = {call}[1]{'[0]' if kind == 'LSTM' else ''}{last}", h)
    state = f"_, ({h}, _) = {call}" if kind == "LSTM" else f"_, {h} = {call}"
    if both and rows == 2:
        return b.emit(f"{state}\n{h} = torch.cat(({h}[0], {h}[1]), dim=-1)", h)
    return b.emit(f"{state}\n{h} = {h}{last}", h)


@rule("layer", 3)
def recurrent_variant(b: Builder) -> bool:
    """irnn_tvm.nn's variants."""
    found = _to_sequence(b)
    if found is None:
        return False
    x, text = found
    features, width = _features(b, x, text), b.width()
    variants = (
        "GRU({}, reset_after=False)", "GRU({}, norm='layer')", "LSTM({}, peephole=True)", "LSTM({}, coupled=True)",
        "LSTM({}, cell_clip=0.7)", "LSTM({}, norm='layer')", "LSTM({}, norm='mad', norm_cell=None)",
        "LSTM({}, mogrify=2)", "LSTM({}, peephole=True, coupled=True, bidirectional=True)", "GRU({}, norm='mad')",
    )  # fmt: skip
    constructor = b.choices.of(variants).format(f"{features}, {width}, batch_first=True")
    r, y = b.layer(f"irnn_tvm.nn.{constructor}", "rnn"), b.fresh()
    return b.emit(f"{y} = self.{r}({text})[0]", y)


@rule("layer", 2)
def second_recurrent_with_state(b: Builder) -> bool:
    """An encoder whose state starts a decoder."""
    found = _to_sequence(b)
    if found is None:
        return False
    x, text = found
    kind, width = b.choices.of(("LSTM", "GRU")), b.width()
    first = b.layer(f"nn.{kind}({_features(b, x, text)}, {width}, batch_first=True)", "encoder")
    y, state = b.fresh(), b.fresh("state")
    other = b.choices.chance(50)
    features = width
    second = b.layer(f"nn.{kind}({features}, {width}, batch_first=True)", "decoder")
    source = y if not other else f"torch.flip({y}, [1])"
    return b.emit(f"{y}, {state} = self.{first}({text})\n{y}, _ = self.{second}({source}, {state})", y)


@rule("layer", 2)
def cell_once(b: Builder) -> bool:
    """A cell on one frame, its state a value, zeros or nothing."""
    x = b.pick("B s")
    if x is None:
        return False
    kind = b.choices.of(("GRUCell", "LSTMCell", "RNNCell"))
    h = b.pick("B s") if b.choices.chance(50) else None
    width = b.last(h) if h is not None else b.width()
    cell, y = b.layer(f"nn.{kind}({b.last(x)}, {width})", "cell"), b.fresh("h")
    if kind == "LSTMCell":
        zeros = f"torch.zeros({x}.size(0), {width})"
        state = f", ({h}, {zeros})" if h is not None else ""
        return b.emit(f"{y}, _ = self.{cell}({x}{state})", y)
    return b.emit(f"{y} = self.{cell}({x}{f', {h}' if h is not None else ''})", y)


@rule("layer", 4)
def cell_in_a_loop(b: Builder) -> bool:
    """A cell over a fixed number of frames, unrolled by Python."""
    x = b.pick("B T s")
    if x is None or b.program.fixed_length is None:
        return False
    width, kind = b.choices.of((4, 8)), b.choices.of(("GRUCell", "RNNCell"))
    cell, h, ys = b.layer(f"nn.{kind}({b.last(x)}, {width})", "cell"), b.fresh("h"), b.fresh("ys")
    head = f"{h} = torch.zeros({x}.size(0), {width})\n{ys} = []\n"
    loops = (
        f"for t in range({b.program.fixed_length}):\n    {h} = self.{cell}({x}[:, t], {h})\n    {ys}.append({h})",
        f"for frame in {x}.unbind(1):\n    {h} = self.{cell}(frame, {h})\n    {ys}.append({h})",
    )
    return b.emit(f"{head}{b.choices.of(loops)}\n{ys} = torch.stack({ys}, 1)", ys, h)


@rule("layer", 6)
def linear(b: Builder) -> bool:
    x = b.pick("... s")
    if x is None:
        return False
    bias = ", bias=False" if b.choices.chance(20) else ""
    y, name = b.fresh(), b.layer(f"nn.Linear({b.last(x)}, {b.width()}{bias})", "linear")
    return b.emit(f"{y} = self.{name}({x})", y)


@rule("layer", 2)
def functional_product(b: Builder) -> bool:
    """F.linear, a product with a parameter."""
    x = b.pick("... s")
    if x is None:
        return False
    width, features, y = b.width(), b.last(x), b.fresh()
    forms = (
        ("torch.randn({1}, {0})", "F.linear({x}, self.{w})"),
        ("torch.randn({0}, {1})", "{x} @ self.{w}"),
        ("torch.randn({0}, {1})", "torch.matmul({x}, self.{w})"),
        ("torch.randn({1}, {0})", "{x} @ self.{w}.t()"),
    )
    shape, call = b.choices.of(forms)
    w = b.layer(f"nn.Parameter({shape.format(features, width)} * {features} ** -0.5)", "weight")
    return b.emit(f"{y} = {call.format(x=x, w=w)}", y)


@rule("layer", 5)
def convolution(b: Builder) -> bool:
    found = _to_sequence(b)
    if found is None:
        return False
    x, text = found
    features, width = _features(b, x, text), b.width()
    kernel, options = b.choices.of((3, 1, 2, 5)), []
    if b.choices.chance(60):
        options.append(f"padding={b.choices.of((kernel // 2, 1))}")
    if b.choices.chance(20):
        options.append("stride=2")
    if b.choices.chance(15):
        options.append("dilation=2")
    if b.choices.chance(15) and features % 2 == 0 and width % 2 == 0:
        options.append("groups=2")
    if b.choices.chance(15):
        options.append("bias=False")
    name = b.layer(f"nn.Conv1d({', '.join(map(str, [features, width, kernel, *options]))})", "conv")
    y = b.fresh()
    inner = (
        text[: -len(".transpose(1, 2)")] if text.endswith(".transpose(1, 2)") else f"{text}.transpose(1, 2)"
    )
    back = ".transpose(1, 2)" if b.choices.chance(70) else ""
    causal = b.choices.chance(15)
    inner = f"F.pad({inner}, ({kernel - 1}, 0))" if causal else inner
    return b.emit(f"{y} = self.{name}({inner}){back}", y)


@rule("layer", 2)
def batch_norm(b: Builder) -> bool:
    x = b.pick("B T s", "B s T", "B s")
    if x is None:
        return False
    y = b.fresh()
    if b.matches(x, "B s") or (b.matches(x, "B s T") and not b.matches(x, "B T s")):
        name = b.layer(f"nn.BatchNorm1d({b.last(x, 1)})", "norm")
        return b.emit(f"{y} = self.{name}({x})", y)
    name = b.layer(f"nn.BatchNorm1d({b.last(x)})", "norm")
    return b.emit(f"{y} = self.{name}({x}.transpose(1, 2)).transpose(1, 2)", y)


@rule("layer", 3)
def norm(b: Builder) -> bool:
    x = b.pick("... s")
    if x is None or b.last(x) < 3:
        return False
    y, features = b.fresh(), b.last(x)
    form = b.choices.number(0, 3)
    if form == 3:
        return b.emit(f"{y} = F.layer_norm({x}, ({features},))", y)
    constructor = (
        "nn.LayerNorm({})",
        "irnn_tvm.nn.MadNorm({})",
        "nn.LayerNorm({}, elementwise_affine=False)",
    )[form]
    return b.emit(f"{y} = self.{b.layer(constructor.format(features), 'norm')}({x})", y)


@rule("layer", 4)
def activation_layer(b: Builder) -> bool:
    x = b.pick("... s", "... *")
    if x is None:
        return False
    y = b.fresh()
    return b.emit(f"{y} = self.{b.layer(b.choices.of(FLAT_LAYERS), 'act')}({x})", y)


@rule("layer", 3)
def pooling(b: Builder) -> bool:
    x = b.pick("B T s", "B s T", "B t s")
    if x is None:
        return False
    y = b.fresh()
    inner = x if b.matches(x, "B s T") and not b.matches(x, "B T s") else f"{x}.transpose(1, 2)"
    window = b.choices.of((2, 3))
    layers = (
        f"nn.AvgPool1d({window})", f"nn.MaxPool1d({window})", "nn.AdaptiveAvgPool1d(1)", "nn.AdaptiveMaxPool1d(1)",
        f"nn.AvgPool1d({window}, stride=1, padding=1)", f"nn.MaxPool1d({window}, stride=1)",
        f"nn.MaxPool1d({window}, ceil_mode=True)", f"nn.AvgPool1d({window}, count_include_pad=False, padding=1)",
    )  # fmt: skip
    calls = (
        f"F.avg_pool1d({inner}, {window})",
        f"F.max_pool1d({inner}, {window})",
        f"F.adaptive_avg_pool1d({inner}, 1)",
    )
    if b.choices.chance(30):
        return b.emit(f"{y} = {b.choices.of(calls)}", y)
    return b.emit(
        f"{y} = self.{b.layer(b.choices.of(layers), 'pool')}({inner}){b.choices.of(('', '.transpose(1, 2)'))}",
        y,
    )


@rule("layer", 2)
def self_attention(b: Builder) -> bool:
    x = b.pick("B T s")
    if x is None or b.last(x) % 2:
        return False
    heads = b.choices.of((1, 2))
    width, y = b.last(x), b.fresh()
    name = b.layer(f"nn.MultiheadAttention({width}, {heads}, batch_first=True)", "attention")
    forms = (
        f"{y}, _ = self.{name}({x}, {x}, {x}, need_weights=False)",
        f"{y} = self.{name}({x}, {x}, {x})[0]",
        f"{y} = {x} + self.{name}({x}, {x}, {x}, need_weights=False)[0]",
    )
    return b.emit(b.choices.of(forms), y)


@rule("layer", 2)
def scaled_dot_product(b: Builder) -> bool:
    x = b.pick("B T s")
    if x is None:
        return False
    k, v = b.like(x) or x, b.like(x) or x
    causal = ", is_causal=True" if b.choices.chance(40) else ""
    y = b.fresh()
    return b.emit(f"{y} = F.scaled_dot_product_attention({x}, {k}, {v}{causal})", y)


@rule("layer", 1)
def attention_by_hand(b: Builder) -> bool:
    x = b.pick("B T s")
    if x is None:
        return False
    k, y = b.like(x) or x, b.fresh()
    scores = b.choices.of((f"{x} @ {k}.transpose(1, 2)", f"torch.bmm({x}, {k}.transpose(1, 2))"))
    return b.emit(
        f"{y} = torch.softmax({scores} / math.sqrt({x}.size(-1)), dim=-1) @ {k}",
        y,
    )


@rule("layer", 2)
def additive_attention(b: Builder) -> bool:
    keys, query = b.pick("B T s"), b.pick("B s", "B T s")
    if keys is None or query is None:
        return False
    name = b.layer(f"irnn_tvm.nn.AdditiveAttention({b.last(query)}, {b.last(keys)}, 8)", "attention")
    y = b.fresh("context")
    lengths = f", {keys}, {b.lengths[0]}" if b.lengths and b.choices.chance(60) else ""
    return b.emit(f"{y}, _ = self.{name}({query}, {keys}{lengths})", y)


@rule("layer", 2)
def attention_pooling(b: Builder) -> bool:
    x = b.pick("B T s")
    if x is None:
        return False
    y, w, name = b.fresh(), b.fresh("w"), b.layer(f"nn.Linear({b.last(x)}, 1)", "score")
    return b.emit(f"{w} = torch.softmax(self.{name}({x}), dim=1)\n{y} = ({w} * {x}).sum(1)", y)


@rule("layer", 8)
def embedding(b: Builder) -> bool:
    if not b.ids:
        return False
    ids = b.choices.of(b.ids)
    words = b.program.inputs[ids].split()[1]
    y, name = b.fresh(), b.layer(f"nn.Embedding({words}, {b.width()})", "embedding")
    form = b.choices.of((f"self.{name}({ids})", f"F.embedding({ids}, self.{name}.weight)"))
    return b.emit(f"{y} = {form}", y)


@rule("layer", 2)
def tied_embedding(b: Builder) -> bool:
    """An embedding and a head with one parameter."""
    if not b.ids:
        return False
    ids = b.choices.of(b.ids)
    words, width, y = b.program.inputs[ids].split()[1], b.width(), b.fresh()
    table = b.layer(f"nn.Embedding({words}, {width})", "embedding")
    head = b.layer(f"nn.Linear({width}, {words}, bias=False)", "head")
    b.init(f"self.{head}.weight = self.{table}.weight")
    return b.emit(f"{y} = self.{head}(torch.tanh(self.{table}({ids})))", y)


@rule("layer", 2)
def repeated_layer(b: Builder) -> bool:
    """One layer, called twice."""
    x = b.pick("... s")
    if x is None:
        return False
    width, y = b.last(x), b.fresh()
    name = b.layer(f"nn.Linear({width}, {width})", "shared")
    forms = (
        f"{y} = self.{name}(torch.tanh(self.{name}({x})))",
        f"{y} = {x}\nfor _ in range(3):\n    {y} = torch.relu(self.{name}({y}))",
        f"{y} = self.{name}({x}) * torch.sigmoid(self.{name}({x}))",
    )
    return b.emit(b.choices.of(forms), y)


@rule("layer", 1)
def repeated_recurrent(b: Builder) -> bool:
    """One recurrent layer for two values, or twice for one."""
    x = b.pick("B T s")
    if x is None:
        return False
    kind, width, y = b.choices.of(("LSTM", "GRU", "RNN")), b.last(x), b.fresh()
    name = b.layer(f"nn.{kind}({width}, {width}, batch_first=True)", "shared")
    other = b.like(x)
    if other is not None:
        return b.emit(f"{y} = self.{name}({x})[0] + self.{name}({other})[0]", y)
    return b.emit(f"{y} = self.{name}(self.{name}({x})[0])[0]", y)


@rule("layer", 2)
def sequential(b: Builder) -> bool:
    x = b.pick("... s")
    if x is None:
        return False
    width, features, y = b.width(), b.last(x), b.fresh()
    act = b.choices.of(("nn.ReLU()", "nn.ReLU(inplace=True)", "nn.Tanh()", "nn.Dropout(0.1)"))
    name = b.layer(
        f"nn.Sequential(nn.Linear({features}, {width}), {act}, nn.Linear({width}, {features}))", "mlp"
    )
    residual = b.choices.of(("{y} = self.{n}({x})", "{y} = {x} + self.{n}({x})"))
    return b.emit(residual.format(y=y, n=name, x=x), y)


RESIDUAL = """
class Residual(nn.Module):
    def __init__(self, width, layer):
        super().__init__()
        self.norm, self.layer = nn.LayerNorm(width), layer

    def forward(self, x):
        y = self.layer(self.norm(x))
        if isinstance(y, tuple):
            y = y[0]
        return x + y
"""


@rule("layer", 2)
def own_block(b: Builder) -> bool:
    """A class of the user's own around a layer, and lists of such blocks."""
    x = b.pick("B T s")
    if x is None or b.last(x) < 3:
        return False
    b.helper(RESIDUAL)
    width, y = b.last(x), b.fresh()
    inner = b.choices.of((f"nn.GRU({width}, {width}, batch_first=True)", f"nn.Linear({width}, {width})"))
    if b.choices.chance(50):
        name = b.layer(f"nn.ModuleList([Residual({width}, {inner}) for _ in range(2)])", "blocks")
        return b.emit(f"{y} = {x}\nfor block in self.{name}:\n    {y} = block({y})", y)
    name = b.layer(f"Residual({width}, {inner})", "block")
    return b.emit(f"{y} = self.{name}({x})", y)


@rule("layer", 1)
def parametrized(b: Builder) -> bool:
    """weight_norm or spectral_norm around a layer."""
    x = b.pick("... s")
    if x is None:
        return False
    y, wrapper = b.fresh(), b.choices.of(("weight_norm", "spectral_norm"))
    name = b.layer(f"nn.utils.parametrizations.{wrapper}(nn.Linear({b.last(x)}, {b.width()}))", "linear")
    return b.emit(f"{y} = self.{name}({x})", y)
