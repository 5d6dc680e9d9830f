"""The figures of the paper, drawn from the parts that they show."""
