"""Training simulated: the same Flower app over our vectorised Grid, one client after the other, or over Ray."""
