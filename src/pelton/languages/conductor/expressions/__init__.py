"""What stands in `${...}`, scripts, loops over lists, and times: this language's expressions, as the kernel evaluates them."""
