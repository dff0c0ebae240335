"""Comes in: a month of outages, availability and the plan's figures.
Goes out: tables, CSV, PDF and XLSX that leaders and carriers read.
Never: a judgement of its own; it prints what others found."""
