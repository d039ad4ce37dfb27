"""What both faces of a stream have in the same words: turns, and reading until something comes."""
