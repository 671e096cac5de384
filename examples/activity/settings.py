"""Sizes of the recipe. The networks have 13,000 to 20,000 parameters, 128 steps of 20 ms each."""

from irnn_tvm.examples.training.classification_job import ClassifierSettings
from irnn_tvm.examples.training.loop import LoopSettings

HIDDEN = {"gru": 64, "bigru": 48, "ln-lstm": 64}
QUICK = ClassifierSettings(
    name="quick",
    float_loop=LoopSettings(epochs=3, learning_rate=5e-3, warmup=20),
    qat_loop=LoopSettings(epochs=1, learning_rate=5e-4),
    hidden={"gru": 32, "bigru": 24, "ln-lstm": 32},
    batch=64,
    dropout=0.1,
    observe_steps=40,
)
STANDARD = ClassifierSettings(
    name="standard",
    float_loop=LoopSettings(epochs=12, learning_rate=3e-3, warmup=100, weight_decay=1e-5),
    qat_loop=LoopSettings(epochs=1, learning_rate=1e-4, warmup=10),
    hidden=HIDDEN,
    batch=64,
    dropout=0.3,
)
SIZES = {settings.name: settings for settings in (QUICK, STANDARD)}
