"""Forms of what a forward pass changes: tensors in place, states of the module, hooks. All of them on y [B, T, 6]."""

from __future__ import annotations

# Ways to get at the memory of y; True where writing through them is followed exactly.
VIEWS: dict[str, bool] = {
    "y": True, "y[...]": True, "y[:]": True, "y[:, 0]": True, "y[:, -1]": True, "y[:, 1:]": True, "y[:, :-1]": True,
    "y[..., :3]": True, "y[..., 2:4]": True, "y[..., -1]": True, "y[0]": True, "y[:, 1, 2:5]": True, "y[:, None]": True,
    "y.transpose(1, 2)": True, "y.permute(2, 0, 1)": True, "y.transpose(0, 1)[1:]": True, "y.view(y.shape)": True,
    "y.view(y.size(0), y.size(1), 2, 3)": True, "y.view(y.size(0), y.size(1), 2, 3)[..., 0]": True,
    "y.reshape(y.size(0), -1)": True, "y.flatten(1)": True, "y.flatten(0, 1)": True, "y.unsqueeze(1)": True,
    "y.unsqueeze(0).squeeze(0)": True, "y.select(1, 0)": True, "y.narrow(-1, 1, 2)": True, "y.chunk(2, -1)[1]": True,
    "y.split([2, 4], -1)[0]": True, "y.unbind(-1)[3]": True, "y.unbind(1)[0] if False else y[:, 0]": True,
    "y.detach()": True, "y.contiguous()": True, "y.data": False, "y.T": False, "y.mT": False, "y[..., ::2]": False,
    "y[:, ::2]": False, "y.swapaxes(0, 1)": False, "y.movedim(0, 1)": False, "y.expand_as(y)": False,
    "y.view_as(x)": False, "y.unflatten(-1, (2, 3))": False, "y.diagonal(dim1=1, dim2=2)": False,
    "y.tensor_split(2, -1)[0]": False, "torch.transpose(y, 0, 1)": False, "y.ravel()": False,
    "y.as_strided((2, 2), (1, 1))": False, "y.unfold(-1, 2, 2)": False, "y.to(torch.float32)": False,
    "y.float()": False, "nn.Identity()(y)": False, "F.dropout(y, 0.5, False)": False, "y.squeeze()": False,
}  # fmt: skip
# Ways to write into v; True where they have an integer version.
WRITES: dict[str, bool] = {
    "v.add_(1)": True, "v += 1": True, "v *= 0.5": True, "v -= 0.25": True, "v /= 3": True, "v.mul_(-0.5)": True,
    "v.relu_()": True, "v.clamp_(-0.5, 0.5)": True, "v.clamp_(min=0)": True, "v.tanh_()": True, "v.sigmoid_()": True,
    "torch.relu_(v)": True, "F.relu(v, inplace=True)": True, "F.elu(v, inplace=True)": True,
    "F.leaky_relu(v, 0.1, True)": True, "F.hardtanh(v, inplace=True)": True, "nn.ReLU(inplace=True)(v)": True,
    "v.zero_()": True, "v.fill_(0.5)": True, "v.copy_(torch.tanh(v))": True, "v[...] = torch.tanh(v)": True,
    "v[..., :1] = 0.5": True, "v[0] += 1": True, "v.neg_()": False, "v.abs_()": False, "v.exp_()": False,
    "v.square_()": False, "v.pow_(2)": False, "v **= 2": False, "v //= 2": False, "v.sqrt_()": False, "v.sub_(1)": True,
    "v.div_(2)": True, "torch.tanh(v, out=v)": False, "torch.add(v, 1, out=v)": False,
    "v.masked_fill_(v > 0, 0)": False,
    "v[v < 0] = 0": False, "v.data.add_(1)": False, "v.data = v * 2": False, "v.set_(x)": False,
    "v.transpose_(0, 1)": False, "v.unsqueeze_(0)": False, "v.squeeze_()": False,
    "v.t_() if v.dim() == 2 else v": False,
    "v.resize_(1)": False, "v.swapaxes_(0, 1)": False, "v.lerp_(x, 0.5)": False, "v.addcmul_(v, v)": False,
    "v.floor_()": False, "v.index_fill_(0, torch.tensor([0]), 0)": False,
    "v.scatter_(0, torch.zeros_like(v).long(), 1.0)": False,
    "v.uniform_()": False, "v.normal_()": False, "v.bernoulli_()": False, "nn.init.zeros_(v)": False,
    "v.cumsum_(0)": False, "v.requires_grad_()": False, "setattr(v, 'note', 1)": False, "v.clip_(-1, 1)": True,
    "v.__iadd__(1)": True, "torch._foreach_add_([v], 1)": False, "v.apply_(lambda e: e) if False else v": True,
}  # fmt: skip
# What is read afterwards, under every name.
READS = (
    "return y, v",
    "return y * 1.5",
    "return torch.tanh(v)",
    "return {'y': torch.sigmoid(y), 'v': v + 1}",
)

# States that a module keeps: layers, forward, and the word that a refusal names; "" where it is a state of the stream.
STATES: dict[str, tuple[str, str, str]] = {
    "a recurrent state": (
        "self.r = nn.GRU(6, 4, batch_first=True)\nself.h = None",
        "y, self.h = self.r(y, self.h)\nreturn y",
        "h",
    ),
    "a recurrent state of a tuple": (
        "self.r = nn.LSTM(6, 4, batch_first=True)\nself.hc = None",
        "y, self.hc = self.r(y, self.hc)\nreturn y",
        "hc",
    ),
    "a state of a layer whose outputs nobody reads": (
        "self.r = nn.LSTM(6, 4, batch_first=True)\nself.hc = None",
        "_, self.hc = self.r(y, self.hc)\nreturn y",
        "hc",
    ),
    "a state in a buffer": (
        "self.r = nn.GRU(6, 4, batch_first=True)\nself.register_buffer('h', torch.zeros(1, 3, 4))",
        "y, self.h = self.r(y, self.h)\nreturn y",
        "h",
    ),
    "a buffer that is copied into": (
        "self.r = nn.GRU(6, 4, batch_first=True)\nself.register_buffer('h', torch.zeros(1, 3, 4))",
        "y, h = self.r(y, self.h)\nself.h.copy_(h)\nreturn y",
        "h",
    ),
    "a buffer written through a slice": (
        "self.r = nn.GRU(6, 4, batch_first=True)\nself.register_buffer('h', torch.zeros(1, 3, 4))",
        "y, h = self.r(y, self.h)\nself.h[:] = h\nreturn y",
        "h",
    ),
    "a state with detach": (
        "self.r = nn.GRU(6, 4, batch_first=True)\nself.h = None",
        "y, h = self.r(y, self.h)\nself.h = h.detach()\nreturn y",
        "h",
    ),
    "a cell's state": (
        "self.r = nn.GRUCell(6, 4)\nself.h = None",
        "self.h = self.r(y[:, 0], self.h)\nreturn self.h",
        "h",
    ),
    "a counter": ("self.steps = 0", "self.steps += 1\nreturn y * 2", "steps"),
    "a counter in a buffer": (
        "self.register_buffer('steps', torch.zeros(1))",
        "self.steps += 1\nreturn y * 2",
        "steps",
    ),
    "a counter that is read": ("self.steps = 1", "self.steps += 1\nreturn y * self.steps", "steps"),
    "a list": ("self.seen = []", "self.seen.append(y)\nreturn self.seen[-1] * 2", "seen"),
    "a dict": ("self.cache = {}", "self.cache['y'] = y\nreturn self.cache['y'] * 2", "cache"),
    "a dict with setdefault": ("self.cache = {}", "return self.cache.setdefault('y', y) * 2", "cache"),
    "a moving average": (
        "self.register_buffer('mean', torch.zeros(6))",
        "self.mean = 0.9 * self.mean + 0.1 * y.mean((0, 1))\nreturn y - self.mean",
        "mean",
    ),
    "the frame before": (
        "self.last = None",
        "before = y if self.last is None else self.last\nself.last = y\nreturn y + before",
        "last",
    ),
    "a window of frames": (
        "self.register_buffer('window', torch.zeros(3, 4, 6))",
        "self.window = torch.cat((self.window[:, 1:], y[:, -1:]), 1)\nreturn self.window.mean(1)",
        "window",
    ),
    "an attribute of a submodule": (
        "self.inner = nn.Identity()",
        "self.inner.last = y\nreturn y * 2",
        "last",
    ),
    "a parameter that is written": (
        "self.scale = nn.Parameter(torch.ones(6))",
        "with torch.no_grad():\n    self.scale.mul_(0.5)\nreturn y * self.scale",
        "scale",
    ),
    "a weight that is written": (
        "",
        "with torch.no_grad():\n    self.linear.weight.add_(0.1)\nreturn self.linear(y)",
        "weight",
    ),
    "setattr": ("", "setattr(self, 'kept', y)\nreturn y * 2", "kept"),
    "a new buffer": ("", "self.register_buffer('made', y.mean((0, 1)))\nreturn y * 2", "made"),
    "a class attribute": ("", "type(self).shared = y\nreturn y * 2", "shared"),
    "a global": ("", "global KEPT\nKEPT = y\nreturn y * 2", "KEPT"),
    "a deque": (
        "from collections import deque\nself.past = deque(maxlen=2)",
        "self.past.append(y)\nreturn self.past[-1] * 2",
        "past",
    ),
}

# Hooks and replaced methods: layers; every one must take part, or be refused.
HOOKS: dict[str, str] = {
    "a forward hook": "self.linear.register_forward_hook(lambda m, args, out: out * 2)",
    "a hook that returns nothing": "self.linear.register_forward_hook(lambda m, args, out: None)",
    "a hook that writes": "self.linear.register_forward_hook(lambda m, args, out: out.mul_(2) and None)",
    "a pre-hook": "self.linear.register_forward_pre_hook(lambda m, args: (args[0] * 0.5,))",
    "a pre-hook without a tuple": "self.linear.register_forward_pre_hook(lambda m, args: args[0] * 0.5)",
    "a pre-hook with keywords": (
        "self.linear.register_forward_pre_hook(lambda m, a, k: ((a[0] * 0.5,), k), with_kwargs=True)"
    ),
    "a hook with keywords": "self.linear.register_forward_hook(lambda m, a, k, out: out + 1, with_kwargs=True)",
    "two hooks": (
        "self.linear.register_forward_hook(lambda m, a, out: out * 2)\n"
        "self.linear.register_forward_hook(lambda m, a, out: out + 1)"
    ),
    "a hook put first": (
        "self.linear.register_forward_hook(lambda m, a, out: out * 2)\n"
        "self.linear.register_forward_hook(lambda m, a, out: out + 1, prepend=True)"
    ),
    "a hook that is removed": "self.linear.register_forward_hook(lambda m, a, out: out * 2).remove()",
    "a replaced forward": "self.linear.forward = lambda v, f=self.linear.forward: f(v).tanh()",
    "a bound method": "self.linear.forward = lambda v, m=self.linear: F.linear(v, m.weight) * 2",
    "a hook of the model": "self.register_forward_hook(lambda m, args, out: out * 2)",
    "a pre-hook of the model": "self.register_forward_pre_hook(lambda m, args: (args[0] * 0.5,))",
    "a hook that collects": "self.rows = []\nself.linear.register_forward_hook(lambda m, a, out: self.rows.append(1))",
    "a subclass with a forward": (
        "class Twice(nn.Linear):\n    def forward(self, v):\n        return super().forward(v) * 2\n"
        "self.linear = Twice(6, 6)"
    ),
    "a subclass without a forward": "class Same(nn.Linear):\n    pass\nself.linear = Same(6, 6)",
    "a full backward hook": "self.linear.register_full_backward_hook(lambda m, i, o: None)",
    "a hook of all modules, for a moment": (
        "from torch.nn.modules.module import register_module_forward_hook as every\n"
        "every(lambda m, a, out: None).remove()"
    ),
    "a wrapped call": (
        "calls = {'__call__': lambda s, v: nn.Linear.__call__(s, v) * 2}\n"
        "self.linear.__class__ = type('L', (nn.Linear,), calls)"
    ),
}
