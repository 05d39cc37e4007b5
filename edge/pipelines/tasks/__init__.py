"""What a kind of model answers: from its outputs to labels, objects and numbers."""
