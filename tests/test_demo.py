"""The two complete jobs on pretrained models, short: what they claim, not how fast."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from irnn_tvm.cli import app
from irnn_tvm.errors import BuildError
from irnn_tvm.examples import download
from irnn_tvm.examples.g2p import model as g2p
from irnn_tvm.examples.g2p import words
from irnn_tvm.examples.textgenrnn import model as textgenrnn

pytestmark = [pytest.mark.network, pytest.mark.slow]

DEMO_KEYS = {
    "words",
    "exact_match",
    "weights_ratio",
    "float_us_per_word",
    "integer_us_per_word",
    "m7_instructions_per_word",
    "m7_identical",
    "flash_bytes",
    "ram_bytes",
}


def fetch_or_skip(*packages: download.Package) -> None:
    for package in packages:
        try:
            download.fetch(package)
        except BuildError as error:
            pytest.skip(str(error))


def test_words_to_phonemes_on_the_host() -> None:
    fetch_or_skip(g2p.PACKAGE, words.PACKAGE)
    result = CliRunner().invoke(app, ["demo", "--json", "--words", "1000", "--host-only"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert set(figures) >= DEMO_KEYS
    assert figures["words"] == 1000
    assert figures["exact_match"] >= 0.99
    assert figures["weights_ratio"] >= 3.9
    assert figures["m7_identical"] is None


@pytest.mark.emulator
@pytest.mark.exhaustive
def test_words_to_phonemes_on_a_cortex_m7(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    require_tool("qemu-system-arm")
    fetch_or_skip(g2p.PACKAGE, words.PACKAGE)
    result = CliRunner().invoke(app, ["demo", "--words", "20", "--keep", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "yes, every logit and state" in result.stdout
    assert {path.name for path in tmp_path.iterdir()} >= {"g2p-cortex-m7.elf", "g2p_encoder-host"}


def test_firmware_refuses_libraries_that_do_not_fit() -> None:
    """Two libraries for this machine are no firmware."""
    import torch
    from torch import nn

    import irnn_tvm
    from irnn_tvm.examples.g2p import firmware

    model = irnn_tvm.quantize(nn.GRU(4, 4, batch_first=True), [torch.randn(2, 3, 4)])
    library = irnn_tvm.build(model, name="small")
    with pytest.raises(BuildError, match="two libraries of one Cortex-M target"):
        firmware.link(library, library, Path("never.elf"))


@pytest.mark.emulator
@pytest.mark.exhaustive
def test_textgenrnn_streams(require_tool: Callable[[str], str]) -> None:
    require_tool("qemu-aarch64")
    fetch_or_skip(textgenrnn.PACKAGE)
    from irnn_tvm.examples.textgenrnn import demo

    figures = demo.run(seconds=0.1)
    exact = [
        f"{target}_{claim}" for target in demo.TARGETS for claim in ("equals_reference", "stream_equals_run")
    ]
    assert all(figures[key] is True for key in exact)
    assert figures["same_next_character"] > 0.9
    assert min(figures[f"{layer}_sqnr_db"] for layer in demo.LAYERS) > 20
