"""The label engine: rules of the game and scores of its results. It knows no outside system."""
