"""Describes the topics that the settings name, for operators or for a partner."""

from importlib.metadata import version

from runtime.settings import Settings
from schemas.descriptions.asyncapi import asyncapi_document, partner_asyncapi_document
from schemas.json_schemas import Json


def describe_topics(settings: Settings) -> Json:
    return asyncapi_document(
        version("lockstream"), settings.topics, settings.replication_factor, settings.retentions
    )


def describe_for_partner(settings: Settings, partner_id: str | None = None) -> Json:
    """Describes what a partner reads; None: whichever it is."""
    return partner_asyncapi_document(
        version("lockstream"),
        settings.topics,
        settings.replication_factor,
        settings.retentions,
        settings.partner_bootstrap_servers,
        partner_id,
    )
