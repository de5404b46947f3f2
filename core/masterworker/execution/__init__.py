"""Floor 4: how an attempt is run. Plugins, process slots, the child process, the guardian."""
