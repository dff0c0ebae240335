"""What the collector keeps: tables, their migrations, and the queries on them."""
