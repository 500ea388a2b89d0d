"""`pelton completion`: what a shell needs to complete pelton's commands and options, as the library makes it that they are made
with."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_PELTON_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands and options.

    In ~/.bashrc or ~/.zshrc: eval "$(pelton completion bash)", or zsh. In ~/.config/fish/config.fish: pelton completion fish |
    source.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(context.find_root().command, {}, "pelton", VARIABLE)
    click.echo(made.source_template % made.source_vars())
