"""What runs on a device: an RPC server that survives the candidates that it runs. Needs TVM, not torch."""
