"""What a command does, from its configuration to its outcome."""
