"""How fast it is, held against floors (the same requests made by hand) and peers; see README.md beside this file."""
