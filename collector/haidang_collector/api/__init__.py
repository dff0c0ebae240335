"""What operators ask and order over HTTP, with a certificate of `haidang-collector operator`."""
