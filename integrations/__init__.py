"""One folder per outside system; words of an outside API stop here."""
