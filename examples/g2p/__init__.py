"""Words to phonemes: the pretrained GRU encoder and decoder of g2p-en, integer-only."""
