"""A good release reaches everybody; worse ones are stopped by what they show beside the champion."""
