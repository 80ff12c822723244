"""Writers of small data in the benchmarks' own file formats: rows in, files on disk out."""
