"""From folder to folder: jobs, as the command line, the container and later servers run them."""
