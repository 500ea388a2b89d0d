"""This language's filters: their grammar, the meaning of values, and the compiled condition."""

from pelton.languages.lusid.filters.condition import MAX_LENGTH, CompiledFilter, Conjuncts, index_name, index_value, parse_filter
from pelton.languages.lusid.filters.grammar import MemberPath
from pelton.languages.lusid.filters.shapes import ANYTHING, VALUE, Items, Members, Named, Shape, Value, follow, is_index, values

__all__ = [
    "ANYTHING",
    "MAX_LENGTH",
    "VALUE",
    "CompiledFilter",
    "Conjuncts",
    "Items",
    "MemberPath",
    "Members",
    "Named",
    "Shape",
    "Value",
    "follow",
    "index_name",
    "index_value",
    "is_index",
    "parse_filter",
    "values",
]
