"""The included executors, registered like those of any other plugin."""
