"""Sizes of the recipe. The networks have 5,000 to 10,000 parameters: a tenth of a small Cortex-M4's flash."""

from irnn_tvm.examples.training.classification_job import ClassifierSettings
from irnn_tvm.examples.training.loop import LoopSettings

HIDDEN = {"gru": 32, "bigru": 24, "ln-lstm": 32}
QUICK = ClassifierSettings(
    name="quick",
    float_loop=LoopSettings(epochs=15, learning_rate=1e-2, warmup=20),
    qat_loop=LoopSettings(epochs=6, learning_rate=2e-4, warmup=20),
    hidden=HIDDEN,
    batch=16,
    dropout=0.2,
)
STANDARD = ClassifierSettings(
    name="standard",
    float_loop=LoopSettings(epochs=80, learning_rate=5e-3, warmup=100, weight_decay=1e-4),
    # At a rate of 1e-4 two of three seeds lose an utterance of the validation part.
    qat_loop=LoopSettings(epochs=8, learning_rate=3e-5, warmup=40, weight_decay=1e-4),
    hidden=HIDDEN,
    batch=16,
    dropout=0.3,
    seeds=(0, 1, 2),
)
SIZES = {settings.name: settings for settings in (QUICK, STANDARD)}
