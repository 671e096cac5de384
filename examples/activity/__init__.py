"""What a person with a phone at the waist is doing (HAPT), with networks for a Cortex-M4."""
