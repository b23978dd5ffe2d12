"""What every run leaves behind: its directory, checkpoints, logs, live view. Shared by RL and
supervised training; knows neither."""
