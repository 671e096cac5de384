"""Where candidates are measured: on this machine, on devices over RPC, under an emulator, on a board by a command."""
