"""State of the coordinator: SQL tables behind small repositories, and content-addressed blobs on disk."""

from cloud.store.blobs import FileBlobs
from cloud.store.database import Database, open_database

__all__ = ["Database", "FileBlobs", "open_database"]
