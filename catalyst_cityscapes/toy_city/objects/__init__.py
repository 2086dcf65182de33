"""What stands in a street of the toy city, each with its outline and its class."""
