"""What is heard: reading sound, and the causal figures of each row."""
