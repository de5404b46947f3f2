"""The included executors. They come in as any plugin does: nothing in masterworker knows them."""
