"""JavaScript expressions: a bounded engine, a lexer, and the language's own rules of equality. Imports expressions.base."""
