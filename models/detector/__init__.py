"""A small detector of objects in single images: its network, its training on rendered pictures, its precision."""
