"""Word-level language models on the Brown corpus: LSTM, LN-LSTM, MadNorm-LSTM and Mogrifier-LSTM, float to integer."""
