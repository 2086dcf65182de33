"""Callbacks for any schedule: phases in a row, and the schedulers of torch."""
