"""JapaneseVowels, float to integer: python -m irnn_tvm.examples.japanese_vowels [--quick] [--model gru] ...
(--help).
"""

from irnn_tvm.examples.japanese_vowels.data import load
from irnn_tvm.examples.japanese_vowels.settings import SIZES
from irnn_tvm.examples.training.classification_job import main

if __name__ == "__main__":
    main("japanese_vowels", load, SIZES, "Nine speakers told apart by two vowels, float to integer.")
