"""What alembic runs for every command; the connection comes from `migrate`."""

from alembic import context

from cloud.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
