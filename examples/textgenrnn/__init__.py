"""Text generation by characters: the pretrained two-layer LSTM of textgenrnn, integer-only and streaming."""
