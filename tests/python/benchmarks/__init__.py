"""The seven benchmarks a second time, in Python: scorers that follow the published rules, written from those rules and not
from evaluation/, and writers of small data in each benchmark's own file formats. test_benchmarks.py holds the command against
them."""
