"""FiftyOne: datasets and fields as columns, and back. (The underscore keeps apart our name and theirs.)"""
