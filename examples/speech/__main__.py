"""Speech recognition, float to integer: python -m irnn_tvm.examples.speech [--quick] [--model ctc-nl] ... (--help)."""

from irnn_tvm.examples.speech.recipe import main

if __name__ == "__main__":
    main()
