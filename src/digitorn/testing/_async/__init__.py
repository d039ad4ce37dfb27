"""The client over httpx."""
