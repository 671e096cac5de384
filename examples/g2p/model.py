"""The pretrained grapheme-to-phoneme model of g2p-en as PyTorch modules, and its loop over a word."""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import Tensor, nn

from irnn_tvm.examples.download import Package, read_member

PACKAGE = Package(
    requirement="g2p-en==2.1.0",
    filename="g2p_en-2.1.0-py3-none-any.whl",
    sha256="2a7aabf1fc7f270fcc3349881407988c9245173c2413debbe5432f4a4f31319f",
    licence="Apache-2.0",
)

GRAPHEMES = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
# fmt: off
PHONEMES = ["<pad>", "<unk>", "<s>", "</s>",
            "AA0", "AA1", "AA2", "AE0", "AE1", "AE2", "AH0", "AH1", "AH2", "AO0", "AO1", "AO2",
            "AW0", "AW1", "AW2", "AY0", "AY1", "AY2", "B", "CH", "D", "DH", "EH0", "EH1", "EH2",
            "ER0", "ER1", "ER2", "EY0", "EY1", "EY2", "F", "G", "HH", "IH0", "IH1", "IH2",
            "IY0", "IY1", "IY2", "JH", "K", "L", "M", "N", "NG", "OW0", "OW1", "OW2",
            "OY0", "OY1", "OY2", "P", "R", "S", "SH", "T", "TH", "UH0", "UH1", "UH2",
            "UW", "UW0", "UW1", "UW2", "V", "W", "Y", "Z", "ZH"]
# fmt: on
START, END = PHONEMES.index("<s>"), PHONEMES.index("</s>")
WORD_END = GRAPHEMES.index("</s>")
MAX_PHONEMES = 20
HIDDEN = 256

_GRAPHEME_IDS = {grapheme: index for index, grapheme in enumerate(GRAPHEMES)}


class Encoder(nn.Module):
    """Reads a word: ids int64 [B, T] (letters, then </s>) -> the last hidden state float32 [1, B, 256]."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(GRAPHEMES), HIDDEN)
        self.gru = nn.GRU(HIDDEN, HIDDEN, batch_first=True)

    def forward(self, ids: Tensor) -> Tensor:
        _, hidden = self.gru(self.embedding(ids))
        return hidden


class Decoder(nn.Module):
    """One phoneme: the last one int64 [B, 1] and the state float32 [1, B, 256] -> logits [B, 1, 74], h."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(PHONEMES), HIDDEN)
        self.gru = nn.GRU(HIDDEN, HIDDEN, batch_first=True)
        self.linear = nn.Linear(HIDDEN, len(PHONEMES))

    def forward(self, token: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        output, hidden = self.gru(self.embedding(token), hidden)
        return self.linear(output), hidden


def checkpoint() -> dict[str, np.ndarray]:
    """The package's weights: float32 arrays enc_emb, enc_w_ih, ..., fc_b."""
    with np.load(io.BytesIO(read_member(PACKAGE, "checkpoint20.npz")), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def load() -> tuple[Encoder, Decoder]:
    """Both halves with the pretrained weights, in evaluation mode."""
    weights = checkpoint()
    encoder, decoder = Encoder(), Decoder()
    for module, prefix in ((encoder, "enc"), (decoder, "dec")):
        state = {
            "embedding.weight": weights[f"{prefix}_emb"],
            "gru.weight_ih_l0": weights[f"{prefix}_w_ih"],
            "gru.weight_hh_l0": weights[f"{prefix}_w_hh"],
            "gru.bias_ih_l0": weights[f"{prefix}_b_ih"],
            "gru.bias_hh_l0": weights[f"{prefix}_b_hh"],
        }
        if prefix == "dec":
            state |= {"linear.weight": weights["fc_w"], "linear.bias": weights["fc_b"]}
        module.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state.items()})
    return encoder.eval(), decoder.eval()


def encode_word(word: str) -> list[int]:
    """Grapheme ids of a lower-case word, closed by </s>."""
    return [_GRAPHEME_IDS.get(letter, _GRAPHEME_IDS["<unk>"]) for letter in word] + [WORD_END]


def spell(phonemes: list[int]) -> str:
    """Phoneme names separated by blanks."""
    return " ".join(PHONEMES[index] for index in phonemes)


@torch.inference_mode()
def predict(encoder: Encoder, decoder: Decoder, word: str) -> list[int]:
    """The float model's phoneme ids for one word: greedy, at most 20, without the closing </s>."""
    hidden = encoder(torch.tensor([encode_word(word)]))
    token = START
    phonemes: list[int] = []
    while len(phonemes) < MAX_PHONEMES:
        logits, hidden = decoder(torch.tensor([[token]]), hidden)
        token = int(logits.argmax())
        if token == END:
            break
        phonemes.append(token)
    return phonemes


@torch.inference_mode()
def trajectory(encoder: Encoder, decoder: Decoder, word: str) -> list[tuple[Tensor, Tensor]]:
    """The decoder's inputs (token [1, 1], hidden [1, 1, 256]) over one word, as the float model walks it."""
    hidden = encoder(torch.tensor([encode_word(word)]))
    token = START
    calls: list[tuple[Tensor, Tensor]] = []
    for _ in range(MAX_PHONEMES):
        calls.append((torch.tensor([[token]]), hidden))
        logits, hidden = decoder(*calls[-1])
        token = int(logits.argmax())
        if token == END:
            break
    return calls


def predict_numpy(weights: dict[str, np.ndarray], word: str) -> list[int]:
    """The package's own algorithm (its `G2p.predict`, in NumPy): the modules above are checked against it."""

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    def cell(x: np.ndarray, h: np.ndarray, prefix: str) -> np.ndarray:
        gates_x = np.matmul(x, weights[f"{prefix}_w_ih"].T) + weights[f"{prefix}_b_ih"]
        gates_h = np.matmul(h, weights[f"{prefix}_w_hh"].T) + weights[f"{prefix}_b_hh"]
        r, z = np.split(sigmoid(gates_x[:, : 2 * HIDDEN] + gates_h[:, : 2 * HIDDEN]), 2, -1)
        n = np.tanh(gates_x[:, 2 * HIDDEN :] + r * gates_h[:, 2 * HIDDEN :])
        return (1 - z) * n + z * h

    hidden = np.zeros((1, HIDDEN), np.float32)
    for grapheme in encode_word(word):
        hidden = cell(weights["enc_emb"][[grapheme]], hidden, "enc")
    token = START
    phonemes: list[int] = []
    for _ in range(MAX_PHONEMES):
        hidden = cell(weights["dec_emb"][[token]], hidden, "dec")
        token = int((np.matmul(hidden, weights["fc_w"].T) + weights["fc_b"]).argmax())
        if token == END:
            break
        phonemes.append(token)
    return phonemes
