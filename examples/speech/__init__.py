"""Speech recognition on the Dutch and Czech voices of the game Fish Fillets: CTC and attention, float to integer."""
