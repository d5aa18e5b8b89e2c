"""Alembic's entry point: runs on the connection that ``ullage_scorer.db.upgrade`` hands over."""

from __future__ import annotations

from alembic import context
from ullage_scorer.db.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
context.run_migrations()
