"""This language's filters: their grammar, the meaning of values, and the compiled condition."""

from pelton.languages.lusid.filters.condition import MAX_LENGTH, CompiledFilter, Conjuncts, index_name, index_value, parse_filter

__all__ = ["MAX_LENGTH", "CompiledFilter", "Conjuncts", "index_name", "index_value", "parse_filter"]
