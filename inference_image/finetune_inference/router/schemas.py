"""Output schemas of routes, ready to validate. References are resolved within the schema only: nothing is fetched."""

import orjson
from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable


class SchemaInvalid(ValueError):
    """The route's output schema cannot be used; the message says where."""


def compiled(text: str) -> Validator:
    """Raises `SchemaInvalid`."""
    try:
        schema = orjson.loads(text)
        dialect = validator_for(schema, default=Draft202012Validator)
        dialect.check_schema(schema)
    except ValueError as error:
        raise SchemaInvalid("the output schema is not JSON") from error
    except SchemaError as error:
        raise SchemaInvalid(f"the output schema is no JSON Schema: at {error.json_path}") from error
    return dialect(schema, registry=Registry())


def tried(validator: Validator) -> None:
    """Judge something of every kind, so that a reference that leads outside is found before an answer comes. Raises `SchemaInvalid`."""
    for sample in ("{}", "[]", '""', "0", "null", "true"):
        complies(validator, sample)


def complies(validator: Validator, answer: str) -> bool:
    """Whether an answer's text is JSON that the schema allows; raises `SchemaInvalid` for a reference that leads outside."""
    try:
        return validator.is_valid(orjson.loads(answer.strip()))
    except orjson.JSONDecodeError:
        return False
    except RecursionError:
        return False
    except Unresolvable as error:
        raise SchemaInvalid("the output schema refers to another document; put the definitions under $defs") from error
