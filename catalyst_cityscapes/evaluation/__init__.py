"""From predictions to the official number: label ids, cityscapesScripts' evaluation, the test server's zip file."""
