"""Language models on Brown, float to integer: python -m irnn_tvm.examples.language_model [--quick] ... (--help)."""

from irnn_tvm.examples.language_model.job import main

if __name__ == "__main__":
    main()
