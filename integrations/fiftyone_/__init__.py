"""FiftyOne: datasets and fields as columns, and back. The underscore keeps our name apart from theirs."""
