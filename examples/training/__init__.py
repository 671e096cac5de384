"""What the training recipes share: the loop, checkpoints, metrics, result rows. Knows no data set and no model."""
