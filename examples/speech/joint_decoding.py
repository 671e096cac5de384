"""A CTC layer decodes together with an attention decoder (Watanabe et al., Hybrid CTC/Attention Architecture, 2017).

The decoder alone may repeat itself or leave words out, because nothing makes its attention move on. CTC knows how much
of the recording a prefix explains: both scores together rule such texts out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from irnn_tvm.examples.speech.attention_decoding import Step, beam_search
from irnn_tvm.examples.speech.ctc_decoding import log_softmax
from irnn_tvm.examples.speech.text import BLANK

Array = NDArray[np.float64]
IMPOSSIBLE = (
    -1e9
)  # of a prefix with more characters than the recording has room for; their differences are finite
CTC_SHARE = 0.5  # of the joint score, chosen on the validation part


class PrefixScorer:
    """log p(a text starts with a prefix | the recording), for growing prefixes.

    log_probabilities [T, classes]: natural logarithms of a CTC layer. A state of a prefix: (last character, logarithms
    of the probability that its paths of t steps end in that character or in a blank [T, 2], its own score).
    """

    def __init__(self, log_probabilities: Array) -> None:
        self.scores = np.asarray(log_probabilities, np.float64)

    def start(self) -> Any:
        """The state of the empty prefix."""
        ends = np.full((len(self.scores), 2), -np.inf)
        ends[:, 1] = np.cumsum(self.scores[:, BLANK])
        return BLANK, ends, 0.0

    def extend(self, state: Any) -> tuple[Array, Array]:
        """Scores [classes] of the prefix and each character, at BLANK that of the text that ends here, and the
        [T, 2, classes] of their states."""
        last, ends, _ = state
        steps, classes = self.scores.shape
        either = np.logaddexp(ends[:, 0], ends[:, 1])
        # A character follows itself only after a blank.
        before = np.repeat(either[:, None], classes, axis=1)
        if last != BLANK:
            before[:, last] = ends[:, 1]
        longer = np.full((steps, 2, classes), -np.inf)
        if last == BLANK:
            longer[0, 0] = self.scores[0]
        for t in range(1, steps):
            longer[t, 0] = np.logaddexp(longer[t - 1, 0], before[t - 1]) + self.scores[t]
            longer[t, 1] = np.logaddexp(longer[t - 1, 1], longer[t - 1, 0]) + self.scores[t, BLANK]
        first = np.concatenate([longer[:1, 0], before[:-1] + self.scores[1:]])
        total: Array = np.logaddexp.reduce(first, axis=0)
        total[BLANK] = either[-1]
        return np.maximum(total, IMPOSSIBLE), longer


def joint(step: Step, log_probabilities: Array, share: float = CTC_SHARE) -> Step:
    """`step` of an attention decoder with `share` of a CTC layer's scores [T, classes] of the same recording.

    Its state is (the decoder's state, what `extend` gave for the last prefix); it starts as (the decoder's, None).
    """
    scorer = PrefixScorer(log_probabilities)

    def both(token: int, state: Any) -> tuple[Array, Any]:
        inner, prefix = state
        logits, inner = step(token, inner)
        if prefix is None:
            prefix = scorer.start()
        else:
            total, longer = prefix
            prefix = token, longer[:, :, token], float(total[token])
        total, longer = scorer.extend(prefix)
        gains = (1 - share) * log_softmax(logits) + share * (total - prefix[2])
        return gains, (inner, (total, longer))

    return both


def joint_search(
    step: Step, state: Any, log_probabilities: Array, limit: int, width: int, share: float = CTC_SHARE
) -> list[int]:
    """The text that decoder and CTC together find best: a beam search over `joint`, at most `limit` characters."""
    both = joint(step, log_probabilities, share)
    return beam_search(both, (state, None), limit, width, normalize=False)
