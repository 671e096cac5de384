"""What a forward pass changes is followed exactly, or refused by name and line: never silently dropped."""

from __future__ import annotations

import pytest
from effect_rows import HOOKS, READS, STATES, VIEWS, WRITES
from written_models import outcome_of, source


def _checked(text: str, exact: bool) -> None:
    outcome = outcome_of(text)
    if outcome.stage == "equal":
        assert outcome.sqnr_db is not None
        assert outcome.sqnr_db > 15, f"{outcome.sqnr_db:.1f} dB\n{text}"
        return
    assert not exact, f"{outcome.reason}\n{text}"
    assert ".py:" in outcome.reason or "keeps a state in" in outcome.reason, outcome.reason


@pytest.mark.parametrize("write", WRITES)
def test_writes(write: str) -> None:
    for read in READS:
        _checked(source(f"v = y\n{write}\n{read}"), WRITES[write])


@pytest.mark.parametrize("view", VIEWS)
def test_writes_through_views(view: str) -> None:
    for write in ("v.add_(1)", "v *= 0.5", "F.relu(v, inplace=True)", "v[0] = 0.5"):
        for read in READS[:2]:
            _checked(source(f"v = {view}\n{write}\n{read}"), VIEWS[view])
            _checked(source(f"v = {view}\n{write.replace('v', 'y')}\n{read}"), False)


@pytest.mark.exhaustive
@pytest.mark.parametrize("view", VIEWS)
def test_every_write_through_every_view(view: str) -> None:
    for write in WRITES:
        _checked(source(f"v = {view}\n{write}\nreturn y, v"), False)


@pytest.mark.parametrize("name", STATES)
def test_states_of_the_module(name: str) -> None:
    """A state of the stream, or refused by the attribute's name; the model is as it was (model_check looks)."""
    layers, body, attribute = STATES[name]
    outcome = outcome_of(source(body, layers, above="ONE_BATCH = True"))
    assert outcome.stage == "equal" or f"{attribute}'" in outcome.reason, outcome.reason


@pytest.mark.parametrize("name", HOOKS)
def test_hooks(name: str) -> None:
    _checked(source("return torch.tanh(y)", HOOKS[name]), False)
