"""What runs in a peer's own interpreter: nothing here may import pgq or what only pgq needs, but `pgq.py`."""
