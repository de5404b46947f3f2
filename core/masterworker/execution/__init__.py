"""Layer 4: running attempts. Plugins, process slots, the child process, the guardian."""
