"""The HTTP edge: Hypercorn's trio worker made strict, bounded and cheap, and the bridge from ASGI to values."""
