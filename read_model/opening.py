"""Opens the configured read model."""

from read_model.database import Database, read_model_url
from read_model.store import ReadModel
from runtime.settings import Settings


def open_read_model(settings: Settings) -> ReadModel:
    """Makes the read model's client, which connects when it is first used and is to be closed.

    Raises:
        ConfigurationError: see ``read_model_url``.
    """
    database = Database(read_model_url(settings), settings.read_model_timeout)
    return ReadModel(database, settings.topics)
