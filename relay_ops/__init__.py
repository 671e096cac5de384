"""The integer RNN operators at graph level: Relax registration, type rule and TIR lowering, one op per file.

The folder keeps the name its users chose; Relax is what succeeded Relay in TVM.
"""
