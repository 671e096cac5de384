"""`python -m irnn_tvm.cli`."""

from irnn_tvm.cli import app

if __name__ == "__main__":
    app()
