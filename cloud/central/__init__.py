"""What the coordinator does with data that the company may hold itself: first weights, and a judgement of its own."""
