"""Questions to the database, answered in the shapes of `shared.api`."""
