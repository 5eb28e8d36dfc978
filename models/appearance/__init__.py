"""How a box looks, as a vector."""
