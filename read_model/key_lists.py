"""Passes lists of keys as one bound parameter. However many they are, the statement stays the same,
and prepared."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Text,
    and_,
    any_,
    bindparam,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine

Pair = tuple[int, int | str]


class KeyLists(Protocol):
    def holds(self, column: ColumnElement[Any]) -> ColumnElement[bool]:
        """Asks whether the column is among ``numbers``."""

    def join(
        self, table: FromClause, first: ColumnElement[Any], second: ColumnElement[Any]
    ) -> FromClause:
        """Joins the rows of the table whose two columns are among ``pairs``."""

    def numbers(self, numbers: Sequence[int]) -> Mapping[str, object]: ...

    def pairs(self, pairs: Sequence[Pair]) -> Mapping[str, object]: ...


class SqliteKeyLists:
    """Passes a JSON text, which ``json_each`` takes apart."""

    def holds(self, column: ColumnElement[Any]) -> ColumnElement[bool]:
        listed = func.json_each(bindparam("numbers", type_=Text)).table_valued("value")
        return column.in_(select(listed.c.value))

    def join(
        self, table: FromClause, first: ColumnElement[Any], second: ColumnElement[Any]
    ) -> FromClause:
        pair = func.json_each(bindparam("pairs", type_=Text)).table_valued("value")
        return pair.join(
            table,
            and_(
                first == func.json_extract(pair.c.value, "$[0]"),
                second == func.json_extract(pair.c.value, "$[1]"),
            ),
        )

    def numbers(self, numbers: Sequence[int]) -> Mapping[str, object]:
        return {"numbers": msgspec.json.encode(numbers).decode()}

    def pairs(self, pairs: Sequence[Pair]) -> Mapping[str, object]:
        return {"pairs": msgspec.json.encode(pairs).decode()}


class PostgresqlKeyLists:
    """Passes arrays."""

    def holds(self, column: ColumnElement[Any]) -> ColumnElement[bool]:
        return column == any_(bindparam("numbers", type_=ARRAY(BigInteger)))

    def join(
        self, table: FromClause, first: ColumnElement[Any], second: ColumnElement[Any]
    ) -> FromClause:
        kind: TypeEngine[Any] = second.type
        pair = func.unnest(
            bindparam("firsts", type_=ARRAY(BigInteger)), bindparam("seconds", type_=ARRAY(kind))
        ).table_valued("first", "second")
        pair = pair.render_derived()
        return pair.join(table, and_(first == pair.c.first, second == pair.c.second))

    def numbers(self, numbers: Sequence[int]) -> Mapping[str, object]:
        return {"numbers": list(numbers)}

    def pairs(self, pairs: Sequence[Pair]) -> Mapping[str, object]:
        return {"firsts": [pair[0] for pair in pairs], "seconds": [pair[1] for pair in pairs]}
