"""The operators' side: API client and commands."""
