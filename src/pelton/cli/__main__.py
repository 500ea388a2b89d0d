"""`python -m pelton.cli` is `pelton`."""

from pelton.cli.main import main

if __name__ == "__main__":
    main()
