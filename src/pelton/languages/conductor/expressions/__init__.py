"""This language's expressions, as the kernel evaluates them: `${...}`, scripts, loops over lists, and times."""
