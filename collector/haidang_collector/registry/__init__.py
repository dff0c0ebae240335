"""Comes in: the province's registry as a file.
Goes out: its model, who is assigned what and may say what, whose a name is.
Never: what an agent says."""
