"""The collector: takes reports in, exposes what is current, keeps what happened."""
