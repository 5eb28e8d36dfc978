"""What people touch: the command line, and later the operators and the panel of the App."""
