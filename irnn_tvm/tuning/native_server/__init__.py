"""An RPC server in C++ for devices without Python, cross-built from the runtime sources that TVM's packages ship.

`server/` is the program, `include/` stands for headers that these sources include and the packages lack."""
