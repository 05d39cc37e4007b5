"""Training of many simulated clients by one of Flower's strategies, over a grid of one's choice."""
