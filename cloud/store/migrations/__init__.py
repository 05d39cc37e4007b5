"""Schema changes, one numbered step after the other; shipped with the package and run at every start.

Forward only: whoever must go back restores the copy of the database that was made before the upgrade.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine


def migrate(engine: Engine) -> None:
    """Bring the database behind `engine` up to the newest step; nothing happens when it is there."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    with engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
