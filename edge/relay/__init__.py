"""One agent of a site serves its neighbours from what it holds, so that a site fetches a model once."""
