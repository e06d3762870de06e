"""Lists in ``search_spaces/*.yaml``: of whole numbers, of names, of true and false; never empty."""

from __future__ import annotations

import yaml

from paleo_opt.spec_file import Fields, as_integer, as_text

#: Of anything that a space counts.
LARGEST = 1_000_000


def integers(fields: Fields, name: str, default: tuple[int, ...], minimum: int = 1) -> tuple[int, ...]:
    """A list of whole numbers, or ``{from, to, step}``; sorted, each once."""
    node = fields.node(name)
    if isinstance(node, yaml.MappingNode):
        span = fields.fields(name)
        first, last = span.integer("from", minimum=minimum, maximum=LARGEST), span.integer("to", maximum=LARGEST)
        step = span.integer("step", 1, minimum=1, maximum=LARGEST)
        span.finish()
        if last < first:
            fields.problem(f"runs from {first} to {last}; expected to end at or above its start", name)
        return tuple(range(first, last + 1, step)) or (first,)
    values = fields.sequence(name, as_integer(minimum, LARGEST), default)
    if name in fields and not values:
        fields.problem("is an empty list; expected at least one value", name)
    return tuple(sorted(set(values)))


def words(
    fields: Fields,
    name: str,
    choices: tuple[str, ...],
    alone: tuple[str, ...] = (),
    default: tuple[str, ...] | None = None,
) -> tuple[str, ...]:
    """A list of ``choices``, or one of ``alone`` in place of a list; without a ``default`` it must be there."""
    node = fields.node(name)
    if node is None and default is not None:
        return default
    if isinstance(node, yaml.ScalarNode):
        return (fields.text(name, choices=(*alone, *choices)),)
    values = fields.sequence(name, as_text(choices))
    if name in fields and not values:
        fields.problem("is an empty list; expected at least one value", name)
    return tuple(dict.fromkeys(values))


def flags(fields: Fields, name: str, default: tuple[bool, ...]) -> tuple[bool, ...]:
    """A list of true and false, each once."""
    values = fields.sequence(name, as_text(("true", "false")), None)
    if values is not None and not values:
        fields.problem("is an empty list; expected at least one value", name)
    return tuple(dict.fromkeys(value == "true" for value in values)) if values else default
