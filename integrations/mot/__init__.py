"""MOTChallenge: its folders and text tables, the videos made of them, and the way into FiftyOne and out again."""
