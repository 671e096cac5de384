"""Who is speaking: nine speakers told apart by two vowels (JapaneseVowels), with networks for a Cortex-M4."""
