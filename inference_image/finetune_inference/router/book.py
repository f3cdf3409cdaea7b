"""The routes as a worker uses them: one look-up per request, everything else prepared when the table comes."""

from dataclasses import dataclass, field

from jsonschema.protocols import Validator

from finetune_inference.contract import Route, RouteTable
from finetune_inference.router.breaker import Key
from finetune_inference.router.schemas import SchemaInvalid, compiled, tried


@dataclass(frozen=True)
class Entry:
    """One alias."""

    namespace: str
    route: Route
    validator: Validator | None = None
    breaker_open: bool = False

    @property
    def key(self) -> Key:
        return self.route.alias, self.route.generation


@dataclass(frozen=True)
class Book:
    """All aliases of a table."""

    entries: dict[str, Entry] = field(default_factory=dict)

    @property
    def aliases(self) -> list[str]:
        """Those that some version answers for."""
        return sorted(alias for alias, entry in self.entries.items() if entry.route.stable or entry.route.canary)


def bound(table: RouteTable, opened: frozenset[Key], before: Book) -> Book:
    """The table's routes with their schemas compiled, once per schema, and with the open breakers."""
    entries = {}
    for route in table.routes:
        old = before.entries.get(route.alias)
        same = old is not None and old.route.schema_check == route.schema_check
        validator = old.validator if old is not None and same else _validator(route)
        entries[route.alias] = Entry(table.namespace, route, validator, (route.alias, route.generation) in opened)
    return Book(entries)


def problems(table: RouteTable) -> dict[str, str]:
    """Why a schema cannot be used, by alias; the routes hold nevertheless, since a rollback must never wait for a schema."""
    found = {}
    for route in table.routes:
        if route.schema_check is not None:
            try:
                tried(compiled(route.schema_check.output_schema))
            except SchemaInvalid as error:
                found[route.alias] = str(error)
    return found


def _validator(route: Route) -> Validator | None:
    """None also for a schema that cannot be used: the supervisor has said so when it took the table."""
    if route.schema_check is None:
        return None
    try:
        return compiled(route.schema_check.output_schema)
    except SchemaInvalid:
        return None
