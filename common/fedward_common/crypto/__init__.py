"""Keys and signatures; no Flower, torch, socket or database."""
