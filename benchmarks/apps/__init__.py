"""The apps that are measured: ours, and what one would write or take instead. Each has ``create_app``."""
