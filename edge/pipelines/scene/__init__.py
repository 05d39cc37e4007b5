"""What is done with a frame before its model, and with an answer after it."""
