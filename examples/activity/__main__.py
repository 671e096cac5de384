"""HAPT activities, float to integer: python -m irnn_tvm.examples.activity [--quick] [--model gru] ... (--help)."""

from irnn_tvm.examples.activity.data import load
from irnn_tvm.examples.activity.settings import SIZES
from irnn_tvm.examples.training.classification_job import main

if __name__ == "__main__":
    main("activity", load, SIZES, "Six activities of people with a phone at the waist, float to integer.")
