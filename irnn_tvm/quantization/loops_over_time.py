"""What Python says of code that loops over run-time sizes, in words that say what to do instead."""

from __future__ import annotations

from irnn_tvm.boundary import shortened

INSTEAD = (
    "A loop over time is part of nn.LSTM and nn.GRU. A hand-written cell is a model of one step whose state is an "
    "input and an output, tied by `carries` (docs/training.md); a stream of its library runs it step by step. For a "
    "fixed number of steps, use range(6) or x.unbind(1)"
)


def explained(error: BaseException) -> str:
    """The message of an error that the user's code raised while it was traced."""
    text = shortened(error, 400)
    if "_Proxy" not in text and "Proxy" not in text:
        return text
    if "as an integer" in text or text.startswith("int()"):
        return (
            "a size of an input is used as a Python number (in range(), int(), a list's length), and it differs from "
            f"call to call. {INSTEAD}"
        )
    return text.replace("'_Proxy' object", "a tensor or size of the model's input").replace(
        "_Proxy", "tensor or size of the model's input"
    )
