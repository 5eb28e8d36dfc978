"""One module per sub-command of ``spam-plugin``, each with a click command called ``command``.

The rows of ``COMMANDS`` in ``plugin/cli.py`` name them. Their imports at the top are click and the standard library
only; FiftyOne and torch are imported inside the command, so that ``spam-plugin --help`` stays fast.
"""
