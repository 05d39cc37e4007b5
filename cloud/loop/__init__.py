"""The loop that turns what the database says into what the world does, again and again."""
