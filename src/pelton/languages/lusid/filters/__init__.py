"""Filters as this language writes them: a grammar, what values mean, and the compiled condition."""

from pelton.languages.lusid.filters.condition import MAX_LENGTH, CompiledFilter, Conjuncts, index_name, index_value, parse_filter

__all__ = ["MAX_LENGTH", "CompiledFilter", "Conjuncts", "index_name", "index_value", "parse_filter"]
