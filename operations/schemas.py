"""``lockstream schemas``: writes the descriptions of the HTTP API and the topics to files."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from command_api.openapi import openapi_document
from command_api.topic_descriptions import describe_for_partner, describe_topics
from operations.shared.configuration import fail, load_settings
from operations.shared.console import print_json, say
from operations.shared.options import AsJson
from operations.shared.output_files import OutputFolder, output_errors, whole
from runtime.errors import LockstreamError
from runtime.settings import Settings
from schemas.descriptions.published import PUBLISHED
from schemas.json_schemas import Json

schemas = typer.Typer(no_args_is_help=True, help="Describe the HTTP API and the topics.")


@schemas.callback()
def _group() -> None:
    """Keeps the group a group: Typer would make a group of one verb that verb."""


@schemas.command("export")
def export_schemas(
    folder: Annotated[
        Path, typer.Option("--to", metavar="FOLDER", help="The folder; made if it isn't there.")
    ] = Path("schemas"),
    as_json: AsJson = False,
) -> None:
    """Write openapi.json, asyncapi.json (and a partner's) and a JSON Schema of each record type.

    They describe this version, with the topic names of the settings; nothing needs to run. A
    schema is named after its topic and record type, lock-events.TempKeyUsed.json for one, and that
    of a topic's headers lock-events.headers.json."""
    try:
        documents = export_documents(load_settings())
        written = write_documents(folder, documents)
    except LockstreamError as error:
        raise fail(error) from error
    if as_json:
        print_json({"files": [str(file) for file in written]})
    else:
        say(f"{len(written)} files in {folder}")


def export_documents(settings: Settings) -> dict[str, Json]:
    """Makes all documents; returns them by file name."""
    return {
        "openapi.json": openapi_document(version("lockstream")),
        "asyncapi.json": describe_topics(settings),
        "asyncapi-partner.json": describe_for_partner(settings),
        **{f"{schema.name}.json": schema.json_schema() for schema in PUBLISHED},
    }


def write_documents(folder: Path, documents: Mapping[str, Json]) -> list[Path]:
    """Writes the documents, all or none; returns their files.

    Raises:
        ConfigurationError: they can't be written there.
    """
    with (
        whole(OutputFolder("--to", folder, documents.__contains__)) as output,
        output_errors("--to", folder),
    ):
        for name, document in documents.items():
            text = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
            output.path(name).write_bytes(text)
    return [folder / name for name in documents]
