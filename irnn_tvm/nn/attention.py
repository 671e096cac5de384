"""Additive attention (Bahdanau et al., 2015, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from irnn_tvm.errors import InputError
from irnn_tvm.nn.masks import lengths_to_mask, masked_softmax


class AdditiveAttention(nn.Module):
    """score(q, k_j) = v . tanh(W_q q + W_k k_j + b), weights = softmax over j, context = sum_j weights_j values_j.

    query_size, key_size: features of a query and of a key; hidden: size of the tanh layer. Parameters:
    query_projection (Linear with bias), key_projection (Linear without), score [hidden].
    project_keys=False: the keys come projected already, [B, Tk, hidden], and there is no key_projection. A decoder
    that takes many steps over one memory then projects it once, outside of the step.
    """

    def __init__(self, query_size: int, key_size: int, hidden: int, *, project_keys: bool = True) -> None:
        super().__init__()
        if min(query_size, key_size, hidden) < 1:
            raise InputError(
                f"AdditiveAttention({query_size}, {key_size}, {hidden}): every size must be at least 1"
            )
        if not project_keys and key_size != hidden:
            raise InputError(
                f"projected keys have {hidden} features, the size of the tanh layer, not {key_size}"
            )
        self.query_size, self.key_size, self.hidden = query_size, key_size, hidden
        self.project_keys = project_keys
        self.query_projection = nn.Linear(query_size, hidden)
        self.key_projection = nn.Linear(key_size, hidden, bias=False) if project_keys else None
        self.score = nn.Parameter(torch.empty(hidden))
        nn.init.uniform_(self.score, -(hidden**-0.5), hidden**-0.5)

    def forward(
        self, query: Tensor, keys: Tensor, values: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """query [B, Tq, Q] or [B, Q], keys [B, Tk, K], values [B, Tk, V] (the keys if not given), lengths int [B] or
        None: how many keys of each sequence are valid.

        Returns (context [B, Tq, V], weights [B, Tq, Tk]), without Tq for a query [B, Q]. A sequence of length 0 has
        weights and context 0. Raises InputError for other ranks or sizes.
        """
        values = keys if values is None else values
        self._check(query, keys, values, lengths)
        single = query.dim() == 2
        q = self.query_projection(query.unsqueeze(1) if single else query)
        k = keys if self.key_projection is None else self.key_projection(keys)
        scores = torch.tanh(q.unsqueeze(2) + k.unsqueeze(1)) @ self.score
        mask = None if lengths is None else lengths_to_mask(lengths, keys.shape[1]).unsqueeze(1)
        weights = masked_softmax(scores, mask)
        context = weights @ values
        return (context.squeeze(1), weights.squeeze(1)) if single else (context, weights)

    def _check(self, query: Tensor, keys: Tensor, values: Tensor, lengths: Tensor | None) -> None:
        shapes = f"query {tuple(query.shape)}, keys {tuple(keys.shape)}, values {tuple(values.shape)}"
        if query.dim() not in (2, 3) or keys.dim() != 3 or values.dim() != 3:
            raise InputError(f"{shapes}: expected query [B, Tq, Q] or [B, Q], keys and values [B, Tk, ...]")
        if query.shape[-1] != self.query_size or keys.shape[-1] != self.key_size:
            raise InputError(f"{shapes}: expected {self.query_size} and {self.key_size} features")
        if query.shape[0] != keys.shape[0] or keys.shape[:2] != values.shape[:2]:
            raise InputError(f"{shapes}: batch sizes or numbers of keys and values differ")
        if lengths is not None and tuple(lengths.shape) != (keys.shape[0],):
            raise InputError(f"lengths have shape {tuple(lengths.shape)}, expected ({keys.shape[0]},)")

    def extra_repr(self) -> str:
        return f"query_size={self.query_size}, key_size={self.key_size}, hidden={self.hidden}"
