"""`python -m crack`: the command `crack`, where it is not on the PATH."""

from crack.console import main

if __name__ == "__main__":
    main()
