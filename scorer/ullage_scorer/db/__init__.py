"""The database room: engine, tables, migrations, and the scope that every read takes."""
