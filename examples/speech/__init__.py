"""Speech recognition on the Dutch and Czech voices of the game Fish Fillets: CTC and attention, float to integer.

    python -m irnn_tvm.examples.speech [--quick | --size full] [--model ctc-nl] [--stage ptq] ... (--help)

Data: the Debian packages fillets-ng-data (scripts), fillets-ng-data-nl and fillets-ng-data-cs (voices), version
1.0.1-1.1, pinned by SHA-256 and fetched by the system's apt without installing them. They are free software under the
GNU GPL, version 2; they are training data here and no part of this project. Of 3,498 recordings 3,398 have a
transcript of what is spoken (1,606 Dutch, 1,792 Czech); 4 are in no script, 54 have an empty subtitle, 42 one with
digits, placeholders or Cyrillic letters. Two Dutch recordings hold no sound. That leaves 3.3 hours.

Split by levels of the game, the same for both languages: of 80 levels in alphabetical order the numbers 4, 14, ...
(from 0) validate and 9, 19, ... test. Levels are held out, speakers are not. Short phrases ("aha") occur in several.

Front end: 16 kHz, 40 log-mel bands every 10 ms, normalized per recording, 2 to 4 frames stacked. A recording's length
is rounded up with its own background noise and batches hold recordings of one length, so that float training, training
with quantization and the library see the same sequences, and no masks are needed.

Models: `ctc-*`, bidirectional LSTMs with CTC, decoded by best path and by a prefix beam search with a character model
of the training texts; `attention-*`, the same encoder, which starts as the trained CTC model's (in the full size: its
own, behind a convolution), with an LSTM decoder and additive attention, helped by a CTC layer in training, decoded
greedily and by beam search. `*-both`, `*-nl` and `*-cs` choose the languages. The metric is the character error rate on
the test levels, blanks between words included.
"""
