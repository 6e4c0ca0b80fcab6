"""How each probe protocol asks: sockets inside namespaces, and what they say became of every packet."""
